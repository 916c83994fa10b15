package main

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Where each closes, the program dies. A process of its own shows it.
func TestLesson03WhoCloses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, side   string
		child        *child
		wantCode     int
		wantWhy      string
		wantConsumed int
	}{
		{"mistake: each closes", "mistake", lesson03.mistakes[0].child,
			2, "send on closed channel", 3},
		{"fix: closed after all", "fix", &child{},
			0, "", 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := tt.child.watch(t.Context(), io.Discard, 0, tt.side, "3")
			require.NoError(t, err)
			assert.Equal(t, tt.wantCode, e[0].code)
			assert.Equal(t, tt.wantWhy, e[0].why)
			assert.Equal(t, tt.wantConsumed,
				strings.Count(e[0].printed, "msg=consumed"))
		})
	}
}

// Where nobody closes, the consumer waits for ever.
func TestLesson03NobodyCloses(t *testing.T) {
	tests := []struct {
		name       string
		publishAll publishAllFunc
		want       string
		wantLeft   map[string]int
	}{
		{"mistake: nobody closes", nobodyCloses, "not ended", map[string]int{
			"chan receive in twoPublishers.func2":  1, // the consumer
			"sync.WaitGroup.Wait in twoPublishers": 1, // who waits for it
		}},
		{"fix: closed after all", closeAfterAll, "ended at 600ms", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got := "not ended"
				go func() {
					twoPublishers(t.Context(), s, tt.publishAll)
					got = "ended at " + time.Since(s.start).String()
				}()
				time.Sleep(59 * time.Minute)
				synctest.Wait()

				assert.Equal(t, tt.want, got)
				assert.Equal(t, tt.wantLeft, leaked(t, ignore))
				if got == "not ended" {
					close(s.queue) // release it
				}
			})
		})
	}
}
