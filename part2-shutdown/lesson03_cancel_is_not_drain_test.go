package main

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLesson03CancelIsNotDrain(t *testing.T) {
	tests := []struct {
		name    string
		consume func(ctx context.Context, b *broker, restart workFunc)
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
				s := newScene(t.Output(), 1)
				got := threeInFlight(t.Context(), s, tt.consume)
				assert.Equal(t, tt.want, got.text)
			})
		})
	}
}

// About half of the messages that are there after the signal are taken.
func TestLesson03SelectTakesEither(t *testing.T) {
	tests := []struct {
		name     string
		take     func(ctx context.Context, queue <-chan Message) bool
		min, max int
	}{
		{"mistake: select takes either", selectBoth, 300, 700},
		{"fix: asked first", askFirst, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			taken := 0
			stopAThousandTimes(t.Context(), newScene(io.Discard, 1), func(
				ctx context.Context, queue <-chan Message,
			) bool {
				if tt.take(ctx, queue) {
					taken++
					return true
				}
				return false
			})
			assert.GreaterOrEqual(t, taken, tt.min)
			assert.LessOrEqual(t, taken, tt.max)
		})
	}
}

// consumeAsService lets the service pull and handle.
func consumeAsService(ctx context.Context, b *broker, restart workFunc) {
	m := newMandrill(b, func(m *Mandrill) { m.slots, m.restart = 8, restart })
	m.Run(ctx)
}
