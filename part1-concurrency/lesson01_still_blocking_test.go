package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLesson01StillBlocking(t *testing.T) {
	const sec = time.Second
	tests := []struct {
		name    string
		consume consumeFunc
		want    []time.Duration // when a restart ended
	}{
		{"mistake: restarts queue up", consumeOneByOne,
			[]time.Duration{1 * sec, 2 * sec, 3 * sec, 4 * sec, 5 * sec}},
		{"fix: restarts overlap", consumeConcurrently,
			[]time.Duration{1 * sec, 1 * sec, 1 * sec, 1 * sec, 1 * sec}},
		{"service: restarts overlap", consumeAsService,
			[]time.Duration{1 * sec, 1 * sec, 1 * sec, 1 * sec, 1 * sec}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				restartFive(t.Context(), s, tt.consume)
				assert.Equal(t, tt.want, s.when("restarted"))
				assert.Equal(t, slices.Max(tt.want), time.Since(s.start))
			})
		})
	}
}

// consumeAsService takes the queue to a broker, and lets the service have it.
func consumeAsService(
	ctx context.Context, queue <-chan Message, restart workFunc,
) {
	b := quietBroker(2*time.Second, len(queue))
	for msg := range queue {
		b.Publish(ctx, msg)
	}
	b.Close()
	pullAsService(ctx, b, restart)
}
