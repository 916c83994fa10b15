package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson04DeadContext(t *testing.T) {
	const refused = "refused #1: terminated signal received"
	tests := []struct {
		name   string
		settle settleFunc
		want   map[string][]string // the broker's record of two messages
		next   []int               // the attempts that are ready right after
	}{
		{
			name:   "mistake: both calls are refused",
			settle: settleWithTheSame,
			want: map[string][]string{
				"m2": {"50ms: delivered #1", "420ms: ack " + refused},
				"m3": {"350ms: delivered #1", "400ms: nack " + refused},
			},
			next: []int{1, 1, 1},
		},
		{
			name:   "fix: one is acked, one given back",
			settle: settleWithItsOwn,
			want: map[string][]string{
				"m2": {"50ms: delivered #1", "420ms: acked #1"},
				"m3": {"350ms: delivered #1", "400ms: nacked #1"},
			},
			next: []int{1, 1, 1, 2},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				t.Log(stopInMidWork(t.Context(), s, tt.settle).text)
				assert.Equal(t, tt.want, map[string][]string{
					"m2": s.broker.story("m2"),
					"m3": s.broker.story("m3"),
				}, "the records")
				assert.Empty(t, leaked(t, ignore), "left running")

				var next []int // what another consumer receives at once
				s.broker.slow = nil
				for {
					d, err := s.broker.Receive(t.Context(), time.Millisecond)
					if err != nil {
						break
					}
					next = append(next, d.Attempt)
				}
				assert.Equal(t, tt.next, next, "attempts that are ready")
			})
		})
	}
}

// Whenever the signal comes, what was delivered is acked or given back.
func TestLesson04TheSumHolds(t *testing.T) {
	tests := []struct {
		name      string
		settle    settleFunc
		wantHolds int // of ten instants
	}{
		{"mistake: never while there is work", settleWithTheSame, 0},
		{"fix: always", settleWithItsOwn, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			holds := 0
			for i := range 10 {
				inBubble(t, func(t *testing.T) {
					s := newScene(t.Output(), 1)
					s.broker = quietBroker(10*time.Second, 6)
					at := time.Duration(i+1) * 100 * time.Millisecond
					got := stopAt(t.Context(), s, tt.settle, at)
					t.Logf("signal at %v: %s", at, got.text)
					if !got.failed {
						holds++
					}
				})
			}
			assert.Equal(t, tt.wantHolds, holds, "instants")
		})
	}
}

// A broker that does not answer is waited for as long as the time-out says. The
// values of the context are kept.
func TestLesson04TimeOut(t *testing.T) {
	type key struct{}
	inBubble(t, func(t *testing.T) {
		start := time.Now()
		ctx, stop := context.WithCancelCause(
			context.WithValue(t.Context(), key{}, "trace 7"))
		stop(errStopped)
		err := settleWithItsOwn(ctx, func(ctx context.Context) error {
			assert.Equal(t, "trace 7", ctx.Value(key{}), "value")
			return sleep(ctx, time.Minute)
		})
		assert.ErrorIs(t, err, errNoAnswer)
		assert.Equal(t, time.Second/2, time.Since(start), "took")
	})
}
