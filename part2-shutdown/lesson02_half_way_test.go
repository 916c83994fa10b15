package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLesson02HalfWay(t *testing.T) {
	errClose := errors.New("close: no answer")
	tests := []struct {
		name      string
		shutDown  shutDownFunc
		want      string // when the flush fails
		wantGood  string // when all goes well
		wantWorst string // when the close fails as well
	}{
		{
			name:      "mistake: the expected error stops it",
			shutDown:  firstErrorStops,
			want:      "1 of 3 steps, returned: terminated signal received",
			wantGood:  "1 of 3 steps, returned: terminated signal received",
			wantWorst: "1 of 3 steps, returned: terminated signal received",
		},
		{
			name:      "mistake: the expected error hides the others",
			shutDown:  firstErrorWins,
			want:      "3 of 3 steps, returned: terminated signal received",
			wantGood:  "3 of 3 steps, returned: terminated signal received",
			wantWorst: "3 of 3 steps, returned: terminated signal received",
		},
		{
			name:     "fix: every step, every error but that",
			shutDown: everyStep,
			want:     "3 of 3 steps, returned: flush: disk full",
			wantGood: "3 of 3 steps, returned: <nil>",
			wantWorst: "3 of 3 steps, returned: flush: disk full, " +
				"close: no answer",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t.Output(), 1)
			assert.Equal(t, tt.want,
				threeSteps(t.Context(), s, tt.shutDown).text)
			assert.Equal(t, tt.wantGood,
				stepsWith(t.Context(), s, tt.shutDown, nil, nil).text)
			assert.Equal(t, tt.wantWorst, stepsWith(
				t.Context(), s, tt.shutDown, errDiskFull, errClose).text)
		})
	}
}

// An error that comes together with "stopped" is not lost, and "stopped" in
// other words is no failure either.
func TestLesson02UnlessStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	assert.Equal(t, context.Canceled, unlessStopped(ctx, context.Canceled),
		"before we are stopped")
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
		assert.Equal(t, tt.want, unlessStopped(ctx, tt.err),
			"what becomes of %v", tt.err)
	}
}
