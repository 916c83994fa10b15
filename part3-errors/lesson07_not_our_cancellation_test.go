package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson07NotOurCancellation(t *testing.T) {
	tests := []struct {
		name     string
		classify classifyFunc
		want     map[string]outcome
	}{
		{"mistake: the error decides", byTheError, map[string]outcome{
			"restarted": toAck,
			"refused":   toRetry,

			"a shared call was cancelled": toGiveBack, // uncounted, for ever
			"the drain cancelled it":      toGiveBack,
			"the same, in other words":    toRetry, // each deployment counts
			"the lease was lost":          toGiveBack,
			"it timed out":                toRetry,
			"no such host, and cancelled": toRetry,
		}},
		{"fix: the cause decides", byTheCause, map[string]outcome{
			"restarted": toAck,
			"refused":   toRetry,

			"a shared call was cancelled": toRetry,
			"the drain cancelled it":      toGiveBack,
			"the same, in other words":    toGiveBack,
			"the lease was lost":          toLetGo,
			"it timed out":                toRetry,
			"no such host, and cancelled": toDeadLetter,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got := make(map[string]outcome)
				i := 0
				t.Log(eightEndings(t.Context(), s, func(
					ctx context.Context, d *Delivery, restart workFunc,
				) outcome {
					do := tt.classify(ctx, d, restart)
					got[waysToEnd[i].name] = do
					i++
					return do
				}).text)
				assert.Equal(t, tt.want, got, "outcomes")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}
