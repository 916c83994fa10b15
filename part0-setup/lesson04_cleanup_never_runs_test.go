package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLesson04CleanupNeverRuns(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, side string
		runs       []sceneRun
		i          int // number of the run
		wantCode   int
		wantClosed int
	}{
		{"mistake: exit skips what is deferred", "mistake",
			lesson04.mistakes, 0, 1, 0},
		{"mistake: return skips what comes last", "mistake",
			lesson04.mistakes, 1, 1, 0},
		{"fix: deferred, and returned", "fix",
			lesson04.fix, 0, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := tt.runs[tt.i].child.watch(
				t.Context(), io.Discard, tt.i, tt.side, "4")
			require.NoError(t, err)
			assert.Equal(t, tt.wantCode, e[0].code)
			assert.Equal(t, tt.wantClosed,
				strings.Count(e[0].printed, "msg=closed"))
		})
	}
}
