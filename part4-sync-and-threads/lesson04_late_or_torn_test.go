package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestLesson04LateOrTorn(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name      string
		handOver  func() (putFunc, takeFunc)
		want      verdict
		wantTaken []time.Duration
	}{
		{"mistake: the signal is dropped", wakeIfIdle,
			verdict{"2 of 4 messages were taken", true},
			[]time.Duration{500 * ms, 3000 * ms}},
		{"fix: the message waits for the consumer", handOver,
			verdict{"4 of 4 messages were taken", false},
			[]time.Duration{500 * ms, 1500 * ms, 2500 * ms, 3500 * ms}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				v := whileBusy(t.Context(), s, tt.handOver)
				t.Log(v.text)
				assert.Equal(t, tt.want, v)
				assert.Equal(t, tt.wantTaken, s.when("taken"), "taken")
				assert.Nil(t, leaked(t, ignore), "left running")
			})
		})
	}
}

// What is handed over waits for the consumer, and the consumer for it, but not
// longer than their contexts.
func TestLesson04HandOverStops(t *testing.T) {
	put, take := handOver()
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errStopped)
	assert.Equal(t, errStopped, put(ctx, newMessage(1, 1)))
	_, err := take(ctx)
	assert.Equal(t, errStopped, err)
}

// Without the race detector the mistakes fail in a share of the runs. With it,
// they fail in each.
func TestLesson04Races(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, side string
		run        int
		says       string
		codes      []int // exit status: one of these
	}{
		{"mistake: appended in the callback", "mistake", 1,
			"WARNING: DATA RACE", []int{66}},
		{"mistake: set in the callback", "mistake", 2,
			"WARNING: DATA RACE", []int{66, 2}}, // Go may notice as well
		{"fix: sent in the callback", "fix", 1,
			"received=8000 of=8000", []int{0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.side == "mistake" {
				needRace(t)
			}
			t.Parallel()
			l := lesson04
			l.mistakes, l.fix = inRace(l.mistakes), inRace(l.fix)
			endings := watchRun(t, l, tt.side, tt.run)
			require.Len(t, endings, 1)
			assert.Contains(t, endings[0].printed, tt.says)
			assert.Contains(t, tt.codes, endings[0].code, "exit status")
		})
	}
}

// inRace returns runs that are played once each, with the race detector if we
// have it.
func inRace(list []sceneRun) (raced []sceneRun) {
	for _, r := range list {
		r.child = &child{race: builtWithRace(), verdict: countTorn}
		raced = append(raced, r)
	}
	return raced
}
