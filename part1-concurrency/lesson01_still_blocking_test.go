package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLesson01StillBlocking(t *testing.T) {
	tests := []struct {
		name    string
		consume consumeFunc
		want    time.Duration
	}{
		{"mistake: restarts queue up", consumeOneByOne, 5 * time.Second},
		{"fix: restarts overlap", consumeConcurrently, time.Second},
		{"service: restarts overlap", consumeAsService, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newStage(t.Output(), 1)
				restartFive(t.Context(), s, tt.consume)
				assert.Equal(t, tt.want, time.Since(s.start))
				assert.Equal(t, 5, s.count("restarted"))
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
