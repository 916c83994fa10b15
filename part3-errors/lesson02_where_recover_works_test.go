package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLesson02WhereRecoverWorks(t *testing.T) {
	t.Parallel()
	const nilMap = "assignment to entry in nil map"
	tests := []struct {
		name, side string
		runs       []sceneRun
		i          int // number of the run
		wantHow    string
		wantWhy    string
		wantEnded  int // of the other message: its deferred call, too
	}{
		{"mistake: recover in main", "mistake",
			lesson02.mistakes, 0, "exit status 2", nilMap, 0},
		{"mistake: recover in the caller", "mistake",
			lesson02.mistakes, 1, "exit status 2", nilMap, 0},
		{"mistake: recover in a helper", "mistake",
			lesson02.mistakes, 2, "exit status 2", nilMap, 0},
		{"fix: recover in the goroutine", "fix",
			lesson02.fix, 0, "exit status 0", "", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := tt.runs[tt.i].child.watch(
				t.Context(), io.Discard, tt.i, tt.side, "2")
			require.NoError(t, err)
			assert.Equal(t, tt.wantHow, e[0].how)
			assert.Equal(t, tt.wantWhy, e[0].why)
			assert.Equal(t, tt.wantEnded,
				strings.Count(e[0].printed, "msg=ended id=m1"))
		})
	}
}

// While a panic ends the process, errgroup's Wait may return nil, and the
// message may be acknowledged. It is a share of the runs, so we try until it
// has shown, two thousand times at most. Under contain it never is.
func TestLesson02Acked(t *testing.T) {
	t.Parallel()
	twenty := *lesson02.mistakes[3].child
	twenty.runs = 20
	acked, runs := 0, 0
	for acked == 0 && runs < 2000 {
		endings, err := twenty.watch(
			t.Context(), io.Discard, 3, "mistake", "2")
		require.NoError(t, err)
		for _, e := range endings {
			runs++
			acked += strings.Count(e.printed, "msg=acked id=m2")
			assert.Equal(t, "exit status 2", e.how)
		}
	}
	assert.Positive(t, acked, "of %d", runs)
	assert.Less(t, acked, runs)
}

// The error says where it was.
func TestLesson02Stack(t *testing.T) {
	err := recoverInGoroutine(func() { panics() })
	p, ok := errors.AsType[*panicError](err)
	require.True(t, ok)
	assert.EqualError(t, err, "panic: on purpose")
	require.NotEmpty(t, p.stack)
	assert.Regexp(t, `^panics \(lesson02_where_recover_works_test.go:\d+\)$`,
		p.stack[0])
	assert.NoError(t, recoverInGoroutine(func() {}))
}

func panics() { panic("on purpose") }
