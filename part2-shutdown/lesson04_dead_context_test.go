package main

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLesson04DeadContext(t *testing.T) {
	tests := []struct {
		name     string
		giveBack giveBackFunc
		want     map[string][]string // the broker's record of two messages
	}{
		{"mistake: refused", nackWithTheSame, map[string][]string{
			"m2": {
				"50ms: delivered #1",
				"380ms: nack refused #1: terminated signal received",
			},
			"m3": { // it was on its way to us
				"350ms: delivered #1",
				"400ms: nack refused #1: terminated signal received",
			},
		}},
		{"fix: given back", nackWithItsOwn, map[string][]string{
			"m2": {"50ms: delivered #1", "380ms: nacked #1"},
			"m3": {"350ms: delivered #1", "400ms: nacked #1"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				stopInMidWork(t.Context(), s, tt.giveBack)
				assert.Equal(t, tt.want, map[string][]string{
					"m2": s.broker.story("m2"),
					"m3": s.broker.story("m3"),
				})
			})
		})
	}
}

// Whenever the signal comes: what was delivered is acked or given back.
func TestLesson04TheSumHolds(t *testing.T) {
	tests := []struct {
		name      string
		giveBack  giveBackFunc
		wantHolds int // of ten instants
	}{
		{"mistake: never while there is work", nackWithTheSame, 0},
		{"fix: always", nackWithItsOwn, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			holds := 0
			for i := range 10 {
				inBubble(t, func(t *testing.T) {
					s := newScene(io.Discard, 1)
					at := time.Duration(i+1) * 100 * time.Millisecond
					stopAt(t.Context(), s, tt.giveBack, at)
					if s.broker.count("delivered") ==
						s.broker.count("acked")+s.broker.count("nacked") {
						holds++
					}
				})
			}
			assert.Equal(t, tt.wantHolds, holds)
		})
	}
}
