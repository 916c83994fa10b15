package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
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
		wantSteps []string
	}{
		{
			name:      "mistake: the expected error stops it",
			shutDown:  firstErrorStops,
			want:      "1 of 3 steps, returned: terminated signal received",
			wantGood:  "1 of 3 steps, returned: terminated signal received",
			wantWorst: "1 of 3 steps, returned: terminated signal received",
			wantSteps: []string{`msg="wait`},
		},
		{
			name:      "mistake: the expected error hides the others",
			shutDown:  firstErrorWins,
			want:      "3 of 3 steps, returned: terminated signal received",
			wantGood:  "3 of 3 steps, returned: terminated signal received",
			wantWorst: "3 of 3 steps, returned: terminated signal received",
			wantSteps: []string{
				`msg="wait`, `msg="flush`, `msg="close`,
			},
		},
		{
			name:     "fix: every step, and every error except that one",
			shutDown: everyStep,
			want:     "3 of 3 steps, returned: flush: disk full",
			wantGood: "3 of 3 steps, returned: <nil>",
			wantWorst: "3 of 3 steps, returned: flush: disk full, " +
				"close: no answer",
			wantSteps: []string{
				`msg="wait`, `msg="flush`, `msg="close`,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			s := newScene(io.MultiWriter(&log, t.Output()), 1)
			play := func(flush, closing error) string {
				got := stepsWith(t.Context(), s, tt.shutDown, flush, closing)
				t.Log(got.text)
				return got.text
			}
			assert.Equal(t, tt.want, play(errDiskFull, nil), "flush fails")
			assert.Equal(t, tt.wantGood, play(nil, nil), "all goes well")
			log.Reset()
			assert.Equal(t, tt.wantWorst, play(errDiskFull, errClose),
				"close fails as well")
			assert.Equal(t, tt.wantSteps, regexp.MustCompile(`msg="(\w+)`).
				FindAllString(log.String(), -1), "steps, in order")
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
