package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLesson01Zombie(t *testing.T) {
	tests := []struct {
		name  string
		serve serveFunc
		want  string // when it is watched for an hour, less a minute
	}{
		{"mistake: ready because it runs", readyIsReady,
			"ready true, backlog 11797, returned after 58m59.75s: <nil>"},
		{"fix: ready while it consumes", readyWhileConsuming,
			"ready false, backlog 1, returned after 900ms: m3: database gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var log strings.Builder
				s := newScene(&log, 1)
				got := dieAtThreeIn(t.Context(), s, tt.serve,
					59*time.Minute-time.Second/4)
				assert.Equal(t, tt.want, got.text)
				assert.Equal(t, 2, strings.Count(log.String(), "\n"))
			})
		})
	}
}
