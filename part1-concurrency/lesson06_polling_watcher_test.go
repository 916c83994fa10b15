package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestLesson06PollingWatcher(t *testing.T) {
	tests := []struct {
		name     string
		handle   handleFunc
		want     []string       // the broker's record
		wantLeft map[string]int // when handling has returned
	}{
		{"mistake: the ack waits for the next look", ackOnNextLook, []string{
			"0s: delivered #1",
			"0s: extended #1",
			"2s: acked #1",
		}, map[string]int{"sleep in ackOnNextLook.func1": 1}},
		{"fix: the ack follows the work", ackWhenDone, []string{
			"0s: delivered #1",
			"500ms: acked #1",
		}, nil},
		{"service: the ack follows the work", handleAsService, []string{
			"0s: delivered #1",
			"500ms: acked #1",
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				var left map[string]int
				handleOne(t.Context(), s, func(
					ctx context.Context, d *Delivery, restart workFunc,
				) {
					ignore := goleak.IgnoreCurrent()
					tt.handle(ctx, d, restart)
					left = leaked(t, ignore)
				})
				assert.Equal(t, tt.want, s.broker.story("m1"))
				assert.Equal(t, tt.wantLeft, left)
			})
		})
	}
}

// It takes a restart that fails to see it.
func TestLesson06ClosedTwice(t *testing.T) {
	fails := func(context.Context, Message) error {
		return errors.New("no such host")
	}
	tests := []struct {
		name    string
		handle  handleFunc
		restart workFunc
		want    any // the panic
	}{
		{"mistake: it goes well", closeDoneTwice, nothing, nil},
		{"mistake: until a restart fails", closeDoneTwice, fails,
			"close of closed channel"},
		{"fix: done is closed on one path", ackWhenDone, fails, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := quietBroker(10*time.Second, 1)
				require.NoError(t, publish(t.Context(), b, 1, 1, 0))
				d, err := b.Receive(t.Context(), forever)
				require.NoError(t, err)
				defer func() {
					got := recover()
					if err, ok := got.(error); ok {
						got = err.Error()
					}
					assert.Equal(t, tt.want, got)
				}()
				tt.handle(t.Context(), d, tt.restart)
			})
		})
	}
}

// An extension that is under way when the work ends is waited for: settling
// comes last.
func TestLesson06LateExtension(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		s.broker = newBroker(s.log, 10*time.Second, 1)
		s.broker.slow = map[string]time.Duration{
			"extend": 300 * time.Millisecond,
		}
		restart := s.work("restarted", 2100*time.Millisecond)
		deliverAll(t.Context(), s, ackWhenDone, restart)
		assert.Equal(t, []string{
			"0s: delivered #1",
			"2.3s: extended #1",
			"2.3s: acked #1",
		}, s.broker.story("m1"))
	})
}
