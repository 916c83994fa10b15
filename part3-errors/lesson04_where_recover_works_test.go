package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLesson04WhereRecoverWorks(t *testing.T) {
	t.Parallel()
	const nilMap = "assignment to entry in nil map"
	tests := []struct {
		name      string
		side      string
		run       int
		wantHow   string
		wantWhy   string
		wantAcked int // m1
		wantEnded int // m1's deferred call
		wantM2    int // nacked
	}{
		{
			name: "mistake: recover in main", side: "mistake", run: 0,
			wantHow: "exit status 2", wantWhy: nilMap,
		},
		{
			name: "mistake: recover in the caller", side: "mistake", run: 1,
			wantHow: "exit status 2", wantWhy: nilMap,
		},
		{
			name: "mistake: recover in a helper", side: "mistake", run: 2,
			wantHow: "exit status 2", wantWhy: nilMap,
		},
		{
			name: "mistake: contain is trusted", side: "mistake", run: 4,
			wantHow: "exit status 2", wantWhy: "concurrent map writes",
		},
		{
			name: "fix: recover in the goroutine", side: "fix",
			wantHow:   "exit status 0",
			wantAcked: 1, wantEnded: 1, wantM2: 1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := watchRun(t, lesson04, tt.side, tt.run)[0]
			assert.Equal(t, tt.wantHow, e.how, "how it ended")
			assert.Equal(t, tt.wantWhy, e.why, "what Go said")
			assert.Equal(t, tt.wantAcked,
				strings.Count(e.printed, "msg=acked id=m1"), "m1 acked")
			assert.Equal(t, tt.wantEnded,
				strings.Count(e.printed, "msg=ended id=m1"), "m1 ended")
			assert.Equal(t, tt.wantM2,
				strings.Count(e.printed, "msg=nacked id=m2"), "m2 nacked")
		})
	}
}

// While a panic ends the process, errgroup's Wait may return nil, and the
// message may be acked. That happens in a share of the runs, so we try until it
// has, two thousand times at most.
func TestLesson04Acked(t *testing.T) {
	t.Parallel()
	twenty := lesson04
	twenty.mistakes = slices.Clone(twenty.mistakes)
	c := *twenty.mistakes[3].child
	c.runs = 20
	twenty.mistakes[3].child = &c
	acked, runs := 0, 0
	for acked == 0 && runs < 2000 {
		for _, e := range watchRun(t, twenty, "mistake", 3) {
			runs++
			acked += strings.Count(e.printed, "msg=acked id=m2")
			assert.Equal(t, "exit status 2", e.how, "how it ended")
		}
	}
	assert.Positive(t, acked, "m2 acked, of %d", runs)
	assert.Less(t, acked, runs, "m2 acked")
}

// The error says where the panic was.
func TestContainedStack(t *testing.T) {
	err := recoverInGoroutine(func() { panics() })
	p, ok := errors.AsType[*panicError](err)
	require.True(t, ok)
	assert.EqualError(t, err, "panic: on purpose")
	require.NotEmpty(t, p.stack)
	assert.Regexp(t, `^panics \(helpers_test.go:\d+\)$`,
		p.stack[0])
	assert.NoError(t, recoverInGoroutine(func() {}))
}
