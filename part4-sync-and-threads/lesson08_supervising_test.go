package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLesson08Supervising(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		play   func(context.Context, *scene, runCommandFunc) verdict
		run    runCommandFunc
		want   string // the verdict
		failed bool
	}{
		{"mistake: one output is not read", thousandLines, readInTurn,
			`^0 of 1000 lines, and no end$`, true},
		{"fix: both are read", thousandLines, letExecRead,
			`^1000 of 1000 lines, exit status 0$`, false},
		{"mistake: the pipe is closed too early", slowReader, waitFirst,
			`^~\d{2,3} of 1000 lines$`, true},
		{"fix: it is read to the end", slowReader, letExecRead,
			`^1000 of 1000 lines, exit status 0$`, false},
		{"mistake: the process is not waited for", thousandLines, readToEOF,
			`^1000 of 1000 lines, a zombie$`, true},
		{"fix: the process is waited for", thousandLines, letExecRead,
			`^1000 of 1000 lines, exit status 0$`, false},
		{"mistake: a line is too long", oneLongLine, scanThenWait,
			`^0 of 1000 lines, and no end$`, true},
		{"fix: a line may be long", oneLongLine, letExecRead,
			`^1000 of 1000 lines, exit status 0$`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t.Output(), 1)
			v := tt.play(t.Context(), s, tt.run)
			s.release()
			t.Log(v.text)
			assert.Regexp(t, tt.want, v.text, "verdict")
			assert.Equal(t, tt.failed, v.failed)
			assert.NotNil(t, s.worker.ProcessState, "waited for, in the end")
		})
	}
}

// What the writer gets in pieces, it hands on in lines.
func TestLineWriter(t *testing.T) {
	var got []string
	w := &lineWriter{line: func(line string) { got = append(got, line) }}
	for _, piece := range []string{"a", "b\nc\n\n", "", "d", "e"} {
		n, err := w.Write([]byte(piece))
		assert.NoError(t, err)
		assert.Equal(t, len(piece), n)
	}
	w.end()
	assert.Equal(t, []string{"ab", "c", "", "de"}, got)

	got = nil
	for range 20 { // a line without an end
		w.Write(make([]byte, 100_000))
		assert.LessOrEqual(t, len(w.rest), tooLong)
	}
	assert.Len(t, got, 1)
}

var errCrashed = errors.New("exit status 2")

// The policy alone: what it says after each exit.
func TestAfterExit(t *testing.T) {
	for _, tt := range []struct {
		name      string
		failures  int
		ran       time.Duration
		wantNow   int
		wantPause time.Duration
		wantErr   error
	}{
		{"the first time", 0, 0, 1, time.Second, nil},
		{"the second time", 1, early - 1, 2, 2 * time.Second, nil},
		{"the fifth time", 4, early - 1, 5, 16 * time.Second, nil},
		{"too often", 5, early - 1, 6, 0, errTooEarly},
		{"not early any more", 5, early, 1, time.Second, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now, pause, err := afterExit(tt.failures, tt.ran, errCrashed)
			assert.Equal(t, tt.wantNow, now, "failures")
			assert.Equal(t, tt.wantPause, pause)
			assert.ErrorIs(t, err, tt.wantErr)
		})
	}
}

// The monitor follows the policy: when it starts the process, and when it gives
// up.
func TestMonitor(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name       string
		runs       []time.Duration // until it fails; the last one repeats
		stop       time.Duration   // of the monitor, or none
		well       bool            // stopped, it ends without an error
		wantStarts []time.Duration
		wantErr    error
	}{
		{"it always fails at once", []time.Duration{s}, 0, false,
			[]time.Duration{0, 2 * s, 5 * s, 10 * s, 19 * s, 36 * s},
			errTooEarly},
		{"it ran well for a while", []time.Duration{s, s, 10 * s, s},
			19500 * time.Millisecond, false,
			[]time.Duration{0, 2 * s, 5 * s, 16 * s, 19 * s}, errStopped},
		{"stopped while it runs", []time.Duration{time.Hour}, 5 * s, false,
			[]time.Duration{0}, errStopped},
		{"stopped, it ends well", []time.Duration{time.Hour}, 5 * s, true,
			[]time.Duration{0}, errStopped},
		{"stopped in a pause", []time.Duration{s}, 1500 * time.Millisecond,
			false,
			[]time.Duration{0}, errStopped},
		{"it ends", nil, 0, false, []time.Duration{0}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				ctx, began := t.Context(), time.Now()
				if tt.stop > 0 {
					stopping, cancel := context.WithTimeoutCause(
						ctx, tt.stop, errStopped)
					defer cancel()
					ctx = stopping
				}
				var starts []time.Duration
				err := monitor(ctx, func(ctx context.Context) error {
					i := len(starts)
					starts = append(starts, time.Since(began))
					if len(tt.runs) == 0 {
						return nil
					}
					if tt.well {
						<-ctx.Done()
						return nil
					}
					err := sleep(ctx, tt.runs[min(i, len(tt.runs)-1)])
					if err == nil {
						err = errCrashed
					}
					return err
				})
				assert.Equal(t, tt.wantStarts, starts, "started")
				assert.ErrorIs(t, err, tt.wantErr)
			})
		})
	}
}
