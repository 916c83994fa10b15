package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson08ThousandAtOnce(t *testing.T) {
	const once = 21 * time.Millisecond // a restart takes that long
	type figures struct {
		peak, deliveries, restarts int
		took                       time.Duration
		inHand                     int // taken and not begun, after 10ms
	}
	tests := []struct {
		name string
		pull pullFunc
		want figures
	}{
		{"mistake: nothing bounds the restarts", startThemAll, figures{
			peak: 1000, deliveries: 1000, restarts: 1000,
			took: once, inHand: 0,
		}},
		{"mistake: leases run out in the queue", messageThenSlot, figures{
			peak: 8, deliveries: 3160, restarts: 3160,
			took: 395 * once, inHand: 992,
		}},
		{"fix: eight at a time, once each", slotThenMessage, figures{
			peak: 8, deliveries: 1000, restarts: 1000,
			took: 125 * once, inHand: 0,
		}},
		{"fix: eight workers", eightWorkers, figures{
			peak: 8, deliveries: 1000, restarts: 1000,
			took: 125 * once, inHand: 0,
		}},
		{"fix: a group with a limit holds one more", limitedGroup, figures{
			peak: 8, deliveries: 1000, restarts: 1000,
			took: 125 * once, inHand: 1,
		}},
		{"service: eight at a time, once each", pullAsService, figures{
			peak: 8, deliveries: 1000, restarts: 1000,
			took: 125 * once, inHand: 0,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				inHand := make(chan int, 1)
				t.Log(pullThousand(t.Context(), s, func(
					ctx context.Context, b *broker, restart workFunc,
				) {
					time.AfterFunc(10*time.Millisecond, func() {
						s.mu.Lock()
						defer s.mu.Unlock()
						inHand <- b.count("delivered") - s.now
					})
					tt.pull(ctx, b, restart)
				}).text)
				assert.Equal(t, tt.want, figures{
					peak:       s.peak,
					deliveries: s.broker.count("delivered"),
					restarts:   s.count("restarted"),
					took:       time.Since(s.start),
					inHand:     <-inHand,
				}, "figures")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}
