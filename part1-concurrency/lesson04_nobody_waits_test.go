package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLesson04NobodyWaits(t *testing.T) {
	const ms = time.Millisecond
	type instants struct{ saved, restarted, acked time.Duration }
	tests := []struct {
		name   string
		handle handleBothFunc
		want   instants
	}{
		{"mistake: it takes the sum", oneAfterTheOther,
			instants{saved: 700 * ms, restarted: 1200 * ms, acked: 1200 * ms}},
		{"mistake: the ack comes first", startBothAndAck,
			instants{saved: 700 * ms, restarted: 500 * ms, acked: 0}},
		{"fix: the ack comes after both", waitForBoth,
			instants{saved: 700 * ms, restarted: 500 * ms, acked: 700 * ms}},
		{"service: the ack comes after both", handleBothAsService,
			instants{saved: 700 * ms, restarted: 500 * ms, acked: 700 * ms}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				saveAndRestart(t.Context(), s, tt.handle)
				require.Equal(t, 1, s.count("saved"))
				require.Equal(t, 1, s.count("restarted"))
				require.Equal(t, 1, s.broker.count("acked"))
				record := s.broker.events()
				assert.Equal(t, tt.want, instants{
					saved:     s.when("saved")[0],
					restarted: s.when("restarted")[0],
					acked:     record[len(record)-1].At,
				})
			})
		})
	}
}

// Adding to a group by hand, inside the goroutine, is another mistake: Wait may
// come before Add. It is one that vet finds.
func TestLesson04Vet(t *testing.T) {
	tests := []struct{ name, pkg, want string }{
		{"mistake: Add in the goroutine", "./testdata/vet/addinside",
			"testdata/vet/addinside/addinside.go:12:12: " +
				"WaitGroup.Add called from inside new goroutine\n"},
		{"fix: Go adds before it starts one", ".", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, _ := exec.Command("go", "vet", tt.pkg).CombinedOutput()
			assert.Equal(t, tt.want, filepath.ToSlash(string(out)))
		})
	}
}

// handleBothAsService lets the service handle a delivery.
func handleBothAsService(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	b := d.verbs.(*lent).broker
	m := newMandrill(b, func(m *Mandrill) { m.save, m.restart = save, restart })
	m.handle(ctx, d)
}
