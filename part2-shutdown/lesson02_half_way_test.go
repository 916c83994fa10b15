package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What comes back with "stopped" is not lost, and "stopped" in other words is
// no failure either.
func TestLesson02UnlessStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	assert.Equal(t, context.Canceled, unlessStopped(ctx, context.Canceled))
	cancel(errStopped)
	wrapped := fmt.Errorf("consumer: %w", errStopped)
	joined := errors.Join(errStopped, errDiskFull)
	for _, tt := range []struct{ err, want error }{
		{nil, nil},
		{errStopped, nil},
		{context.Canceled, nil},
		{wrapped, nil},
		{errDiskFull, errDiskFull},
		{joined, joined},
	} {
		assert.Equal(t, tt.want, unlessStopped(ctx, tt.err))
	}
}

func TestLesson02HalfWay(t *testing.T) {
	const (
		onlyStopped = "returned: terminated signal received"
		diskFull    = "returned: flush: disk full"
		nothingElse = "returned: <nil>"
	)
	tests := []struct {
		name     string
		shutDown func(ctx context.Context, steps []func() error) error
		want     string // when the flush fails
		wantGood string // when all goes well
	}{
		{"mistake: the expected error stops it", firstErrorStops,
			"1 of 3 steps, " + onlyStopped, "1 of 3 steps, " + onlyStopped},
		{"mistake: the expected error hides the other", firstErrorWins,
			"3 of 3 steps, " + onlyStopped, "3 of 3 steps, " + onlyStopped},
		{"fix: every step, every error but that", everyStep,
			"3 of 3 steps, " + diskFull, "3 of 3 steps, " + nothingElse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(io.Discard, 1)
			assert.Equal(t, tt.want,
				threeSteps(t.Context(), s, tt.shutDown).text)
			assert.Equal(t, tt.wantGood,
				stepsWith(t.Context(), s, tt.shutDown, nil).text)
		})
	}
}
