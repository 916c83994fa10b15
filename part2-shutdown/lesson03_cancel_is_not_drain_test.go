package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson03CancelIsNotDrain(t *testing.T) {
	tests := []struct {
		name    string
		consume consumeFunc
		want    string
	}{
		{"mistake: work dies with the pulling", oneContext,
			"3 in flight, 0 acked, took 1s"},
		{"fix: work ends by itself", twoContexts,
			"3 in flight, 3 acked, took 3s"},
		{"service: work ends by itself", consumeAsService,
			"3 in flight, 3 acked, took 3s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got := threeInFlight(t.Context(), s, tt.consume)
				t.Log(got.text)
				assert.Equal(t, tt.want, got.text, "verdict")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}

// About half of the messages that are there after the signal are taken.
func TestLesson03SelectTakesEither(t *testing.T) {
	tests := []struct {
		name     string
		take     takeFunc
		min, max int
	}{
		{"mistake: select takes either", selectBoth, 300, 700},
		{"fix: the context is asked first", askFirst, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			taken := 0
			t.Log(stopAThousandTimes(t.Context(), newScene(t.Output(), 1), func(
				ctx context.Context, queue <-chan Message,
			) bool {
				if tt.take(ctx, queue) {
					taken++
					return true
				}
				return false
			}).text)
			assert.GreaterOrEqual(t, taken, tt.min, "taken, at least")
			assert.LessOrEqual(t, taken, tt.max, "taken, at most")
		})
	}
}

// A consumer that waits for a message ends with its context, too.
func TestLesson03EmptyQueue(t *testing.T) {
	for name, take := range map[string]takeFunc{
		"mistake": selectBoth, "fix": askFirst,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				assert.False(t, take(ctx, make(chan Message)), "taken")
				assert.Equal(t, time.Second, time.Since(start), "took")
			})
		})
	}
}
