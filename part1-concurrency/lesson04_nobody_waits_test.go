package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestLesson04NobodyWaits(t *testing.T) {
	const ms = time.Millisecond
	type instants struct{ Saved, Restarted, Acked time.Duration }
	tests := []struct {
		name   string
		handle handleBothFunc
		want   instants // when saving takes 700ms, and restarting 500ms
		other  instants // the other way round
	}{
		{
			name:   "before: one after the other takes the sum",
			handle: oneAfterTheOther,
			want:   instants{700 * ms, 1200 * ms, 1200 * ms},
			other:  instants{500 * ms, 1200 * ms, 1200 * ms},
		},
		{
			name:   "mistake: the ack comes first",
			handle: startBothAndAck,
			want:   instants{700 * ms, 500 * ms, 0},
			other:  instants{500 * ms, 700 * ms, 0},
		},
		{
			name:   "fix: the ack comes after both",
			handle: waitForBoth,
			want:   instants{700 * ms, 500 * ms, 700 * ms},
			other:  instants{500 * ms, 700 * ms, 700 * ms},
		},
		{
			name:   "service: the ack comes after both",
			handle: handleBothAsService,
			want:   instants{700 * ms, 500 * ms, 700 * ms},
			other:  instants{500 * ms, 700 * ms, 700 * ms},
		},
	}
	for _, tt := range tests {
		play := func(t *testing.T, save, restart time.Duration) (is instants) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				t.Log(saveAndRestartIn(
					t.Context(), s, tt.handle, save, restart).text)
				require.Equal(t, 1, s.count("saved"), "saved")
				require.Equal(t, 1, s.count("restarted"), "restarted")
				require.Equal(t, 1, s.broker.count("acked"), "acked")
				record := s.broker.events()
				is = instants{
					Saved:     s.when("saved")[0],
					Restarted: s.when("restarted")[0],
					Acked:     record[len(record)-1].At,
				}
				assert.Empty(t, leaked(t, ignore), "left running")
			})
			return is
		}
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, fmt.Sprintf("%+v", tt.want),
				fmt.Sprintf("%+v", play(t, 700*ms, 500*ms)), "saving is slower")
			assert.Equal(t, fmt.Sprintf("%+v", tt.other),
				fmt.Sprintf("%+v", play(t, 500*ms, 700*ms)), "restarting is")
		})
	}
}

// To call Add inside the goroutine is another mistake: Wait may come before it.
// vet finds it if Add is the first statement.
func TestLesson04Vet(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, pkg, want string }{
		{"mistake: Add in the goroutine", "./testdata/vet/addinside",
			"testdata/vet/addinside/addinside.go:12:12: " +
				"WaitGroup.Add called from inside new goroutine\n"},
		{"fix: WaitGroup.Go adds before it starts one", ".", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, _ := exec.Command("go", "vet", tt.pkg).CombinedOutput()
			t.Logf("%s", out)
			assert.Equal(t, tt.want, filepath.ToSlash(string(out)),
				"what vet says")
		})
	}
}

// handleBothAsService has the service handle a delivery.
func handleBothAsService(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	b := d.verbs.(*lent).broker
	m := newMandrill(b, func(m *Mandrill) { m.save, m.restart = save, restart })
	m.handle(ctx, d)
}
