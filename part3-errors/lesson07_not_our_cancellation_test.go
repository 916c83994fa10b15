package main

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLesson07NotOurCancellation(t *testing.T) {
	tests := []struct {
		name  string
		judge classify
		want  map[string]outcome
	}{
		{"mistake: by the error", byTheError, map[string]outcome{
			"restarted":                  toAck,
			"the shutdown cancels it":    toGiveBack,
			"the lease is lost":          toGiveBack,
			"a hedged call is cancelled": toGiveBack,

			"it is refused":                 toRetry,
			"it is refused, then cancelled": toRetry,
		}},
		{"fix: by the cause", byTheCause, map[string]outcome{
			"restarted":                  toAck,
			"the shutdown cancels it":    toGiveBack,
			"the lease is lost":          toLetGo,
			"a hedged call is cancelled": toRetry,

			"it is refused":                 toRetry,
			"it is refused, then cancelled": toRetry,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(map[string]outcome)
			i := 0
			sixEndings(t.Context(), newScene(io.Discard, 1), func(
				ctx context.Context, err error,
			) outcome {
				o := tt.judge(ctx, err)
				got[waysToEnd[i].name] = o
				i++
				return o
			})
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestLesson07LostLease(t *testing.T) {
	tests := []struct {
		name   string
		handle handleFunc
		want   []string
		when   []time.Duration // a restart was done
	}{
		{"mistake: it works on, and settles", workOn, []string{
			"100ms: delivered #1",
			"900ms: extend refused #1: access denied",
			"1.7s: extend refused #1: access denied",
			"2.1s: expired #1",
			"2.1s: delivered #2",
			"2.9s: extend refused #2: access denied",
			"3.1s: acked #2",
			"5.1s: ack refused #1: already settled",
		}, []time.Duration{3100 * time.Millisecond, 5100 * time.Millisecond}},
		{"fix: it lets go", letGo, lettingGo,
			[]time.Duration{3100 * time.Millisecond}},
		{"service: it lets go", handleAsService, lettingGo,
			[]time.Duration{3100 * time.Millisecond}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				loseTheLease(t.Context(), s, tt.handle)
				assert.Equal(t, tt.want, s.broker.story("m1"))
				assert.Equal(t, tt.when, s.when("restarted"))
			})
		})
	}
}

// Work that is done in spite of it is acked once all the same.
func TestLesson07DoneInSpiteOfIt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		loseTheLease(t.Context(), s, func(
			ctx context.Context, d *Delivery, _ workFunc,
		) {
			takes := 5 * time.Second
			if d.Attempt == 2 {
				takes = time.Second
			}
			letGo(ctx, d, s.work("restarted", takes)) // ignores its context
		})
		assert.Equal(t, append(slices.Clone(lettingGo),
			"5.1s: ack refused #1: already settled"), s.broker.story("m1"))
		assert.Equal(t, 2, s.count("restarted"))
	})
}

var lettingGo = []string{
	"100ms: delivered #1",
	"900ms: extend refused #1: access denied",
	"1.7s: extend refused #1: access denied",
	"2.1s: expired #1",
	"2.1s: delivered #2",
	"2.9s: extend refused #2: access denied",
	"3.1s: acked #2",
}

// handleAsService lets the service handle a delivery.
func handleAsService(ctx context.Context, d *Delivery, restart workFunc) {
	handleBothAsService(ctx, d, nothing, restart)
}
