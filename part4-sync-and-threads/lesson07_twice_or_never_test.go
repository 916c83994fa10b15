package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLesson07TwiceOrNever(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		play func(context.Context, *scene) verdict
		want verdict
	}{
		{"mistake: the message is stored twice", lesson07.mistakes[0].play,
			verdict{"messages 1, stored 2", true}},
		{"fix: the message is stored once", lesson07.fix[0].play,
			verdict{"messages 1, stored 1", false}},
		{"mistake: the message is stored and never delivered",
			lesson07.mistakes[1].play,
			verdict{"deliveries 2, stored but never to be delivered, " +
				"dead letters 0", true}},
		{"fix: the message becomes a dead letter", lesson07.fix[1].play,
			verdict{"deliveries 3, not stored any more, dead letters 1",
				false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := tt.play(t.Context(), newScene(t.Output(), 1))
			t.Log(v.text)
			assert.Equal(t, tt.want, v)
		})
	}
}
