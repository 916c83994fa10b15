package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson02OneBadHost(t *testing.T) {
	tests := []struct {
		name       string
		restartAll restartFunc
		want       []time.Duration // when a host was restarted
		wantText   string
	}{
		{"mistake: one failure cancels all", onTheServicesGroup,
			nil, "0 of 2 restarted, 1 of 2 errors kept"},
		{"fix: a failure is a result", errorsAreData,
			[]time.Duration{2 * time.Second, 2 * time.Second},
			"2 of 2 restarted, 2 of 2 errors kept"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got := fourHosts(t.Context(), s, tt.restartAll)
				assert.Equal(t, fmt.Sprint(tt.want),
					fmt.Sprint(s.when("restarted")),
					"restarted at")
				t.Log(got.text)
				assert.Equal(t, tt.wantText, got.text, "verdict")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}

// The errors are in the order of the messages, whichever failed first.
func TestLesson02Order(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		err := errorsAreData(t.Context(),
			[]Message{newMessage(1, 1), newMessage(1, 2)},
			func(_ context.Context, msg Message) error {
				if msg.ID == "m1" {
					time.Sleep(time.Second)
				}
				return errRefused
			})
		assert.EqualError(t, err, "m1: restart refused\nm2: restart refused")
	})
}

// That one restart fails cancels nothing. That we are cancelled does.
func TestLesson02Cancelled(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := errorsAreData(ctx, []Message{newMessage(1, 1)}, takes(time.Hour))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start), "took")
	})
}
