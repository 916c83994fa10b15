package main

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Published before anybody consumes, nothing can go on. Go's runtime notices,
// and ends the process.
func TestLesson01PublishThenConsume(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, side string
		child      *child
		wantCode   int
		wantWhy    string
	}{
		{"mistake: a send before the receive", "mistake",
			lesson01.mistakes[0].child,
			2, "all goroutines are asleep - deadlock!"},
		{"fix: the consumers come first", "fix",
			&child{alone: true},
			0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := tt.child.watch(t.Context(), io.Discard, 0, tt.side, "1")
			require.NoError(t, err)
			assert.Equal(t, tt.wantCode, e[0].code)
			assert.Equal(t, tt.wantWhy, e[0].why)
		})
	}
}

// A sentinel ends one consumer, a close ends them all.
func TestLesson01Sentinel(t *testing.T) {
	tests := []struct {
		name         string
		pass         passFunc
		want         string
		wantConsumed int
		wantLeft     map[string]int // an hour later
	}{
		{"mistake: one sentinel", endWithSentinel, "not ended", 5,
			map[string]int{
				"chan receive in endWithSentinel.func1":  1, // a consumer
				"sync.WaitGroup.Wait in endWithSentinel": 1, // who waits for it
			}},
		{"fix: close", closeAtTheEnd, "ended at 700ms", 5, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got := "not ended"
				go func() {
					fiveMessages(t.Context(), s, tt.pass)
					got = "ended at " + time.Since(s.start).String()
				}()
				time.Sleep(59 * time.Minute)
				synctest.Wait()

				assert.Equal(t, tt.want, got)
				assert.Equal(t, tt.wantConsumed, s.count("consumed"))
				assert.Equal(t, tt.wantLeft, leaked(ignore))
				if got == "not ended" {
					close(s.queue) // release it
				}
			})
		})
	}
}
