package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson07PollingWatcher(t *testing.T) {
	tests := []struct {
		name     string
		handle   handleFunc
		want     []string       // the broker's record
		wantLeft map[string]int // when handling has returned
	}{
		{
			name:   "mistake: the ack waits for the next look",
			handle: ackOnNextLook,
			want: []string{
				"0s: delivered #1",
				"0s: extended #1",
				"2s: acked #1",
			},
			wantLeft: map[string]int{"sleep in ackOnNextLook.func1": 1},
		},
		{
			name:   "fix: the ack follows the work",
			handle: ackWhenDone,
			want: []string{
				"0s: delivered #1",
				"500ms: acked #1",
			},
		},
		{
			name:   "service: the ack follows the work",
			handle: handleAsService,
			want: []string{
				"0s: delivered #1",
				"500ms: acked #1",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				var left map[string]int
				t.Log(handleOne(t.Context(), s, func(
					ctx context.Context, d *Delivery, restart workFunc,
				) {
					ignore := goleak.IgnoreCurrent()
					tt.handle(ctx, d, restart)
					left = leaked(t, ignore)
				}).text)
				assert.Equal(t, tt.want, s.broker.story("m1"), "the record")
				assert.Equal(t, tt.wantLeft, left, "left running")
			})
		})
	}
}

// Only a restart that fails shows these mistakes.
func TestLesson07ClosedTwice(t *testing.T) {
	tests := []struct {
		name   string
		handle handleFunc
		want   string
	}{
		{"mistake: the failure is acked", ackOnNextLook,
			"failed, acks: 1, no panic"},
		{"mistake: done is closed on two paths", closeDoneTwice,
			"failed, acks: 0, panic: close of closed channel"},
		{"fix: released once, and not acked", ackWhenDone,
			"failed, acks: 0, no panic"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got := failOne(t.Context(), s, tt.handle)
				t.Log(got.text)
				assert.Equal(t, tt.want, got.text, "verdict")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}

// An extension that is under way when the work ends is waited for, even if it
// ignores its context: settling comes last.
func TestLesson07LateExtension(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		s.broker = newBroker(s.log, 10*time.Second, 1)
		s.broker.fail = func(verb, _ string) (bool, error) {
			if verb == "extend" {
				time.Sleep(300 * time.Millisecond)
			}
			return false, nil
		}
		restart := s.work("restarted", 2100*time.Millisecond)
		t.Log(deliverAll(t.Context(), s, ackWhenDone, restart).text)
		time.Sleep(time.Second)
		assert.Equal(t, []string{
			"0s: delivered #1",
			"2.3s: extended #1",
			"2.3s: acked #1",
		}, s.broker.story("m1"), "the record")
	})
}
