package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson02FireAndForget(t *testing.T) {
	const sec = time.Second
	tests := []struct {
		name     string
		send     sendFunc
		wantSent []time.Duration // when the first ten sends returned
		wantLeft map[string]int  // when the consumer has gone
	}{
		{"mistake: nothing waits", sendAndForget,
			[]time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			map[string]int{"chan send in sendAndForget.func1": 95}},
		{"fix: it waits for room", sendOrWait,
			[]time.Duration{0, 0, 1 * sec, 2 * sec, 3 * sec},
			nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				var sent []time.Duration
				publishHundred(t.Context(), s, func(
					ctx context.Context, queue chan<- Message, msg Message,
				) error {
					err := tt.send(ctx, queue, msg)
					if err == nil {
						sent = append(sent, time.Since(s.start))
					}
					return err
				})
				assert.Equal(t, tt.wantSent, sent[:min(10, len(sent))])
				assert.Equal(t, tt.wantLeft, leaked(t, ignore))
				s.release()
			})
		})
	}
}

// What the publisher sends in order, the consumer gets in order. (What the
// mistake sends, it gets in the order in which the goroutines happen to start.)
func TestLesson02Order(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		queue := make(chan Message, 2)
		go func() {
			defer close(queue)
			for i := range 100 {
				sendOrWait(t.Context(), queue, newMessage(1, i+1))
			}
		}()
		n := 0
		for msg := range queue {
			n++
			assert.Equal(t, newMessage(1, n), msg)
		}
		assert.Equal(t, 100, n)
	})
}
