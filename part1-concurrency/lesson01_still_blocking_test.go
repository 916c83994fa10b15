package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
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
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				t.Log(restartFive(t.Context(), s, tt.consume).text)
				assert.Equal(t, fmt.Sprint(tt.want),
					fmt.Sprint(s.when("restarted")), "restarted at")
				assert.Equal(t, slices.Max(tt.want), time.Since(s.start),
					"consume returned at")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}

// consumeAsService has the service handle the messages, from a broker.
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
