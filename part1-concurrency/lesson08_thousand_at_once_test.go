package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
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
		{"mistake: nothing bounds the restarts", startThemAll,
			figures{1000, 1000, 1000, once, 0}},
		{"mistake: leases run out in the queue", messageThenSlot,
			figures{8, 3160, 3160, 395 * once, 992}},
		{"fix: eight at a time, once each", slotThenMessage,
			figures{8, 1000, 1000, 125 * once, 0}},
		{"service: eight at a time, once each", pullAsService,
			figures{8, 1000, 1000, 125 * once, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				inHand := make(chan int, 1)
				pullThousand(t.Context(), s, func(
					ctx context.Context, b *broker, restart workFunc,
				) {
					time.AfterFunc(10*time.Millisecond, func() {
						s.mu.Lock()
						defer s.mu.Unlock()
						inHand <- b.count("delivered") - s.now
					})
					tt.pull(ctx, b, restart)
				})
				assert.Equal(t, tt.want, figures{
					peak:       s.peak,
					deliveries: s.broker.count("delivered"),
					restarts:   s.count("restarted"),
					took:       time.Since(s.start),
					inHand:     <-inHand,
				})
			})
		})
	}
}

// pullAsService lets the service pull and handle, eight at a time.
func pullAsService(ctx context.Context, b *broker, restart workFunc) {
	m := newMandrill(b, func(m *Mandrill) { m.slots, m.restart = 8, restart })
	m.Run(ctx)
}
