package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson02StarvingPool(t *testing.T) {
	tests := []struct {
		name string
		run  func(context.Context, []jobFunc, <-chan Message, workFunc) error
		want verdict
	}{
		{"mistake: the consumer never starts", limitAll,
			verdict{"published 150, restarted 0, 0 at a time", true}},
		{"fix: the consumer keeps up", limitRestarts,
			verdict{"published 150, restarted 150, 3 at a time", false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				v := fivePublishers(t.Context(), s, tt.run)
				t.Log(v.text)
				assert.Equal(t, tt.want, v)
				assert.Equal(t, 6150*time.Millisecond, s.elapsed(), "stopped")
				assert.Nil(t, leaked(t, ignore), "left running")
			})
		})
	}
}
