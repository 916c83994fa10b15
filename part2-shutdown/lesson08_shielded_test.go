package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLesson08Shielded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, side string
		runs       []sceneRun
		i          int // number of the run
		wantDone   int
	}{
		{"mistake: shielded, not waited for", "mistake",
			lesson08.mistakes, 0, 0},
		{"mistake: waited for, with the cancel handed out", "mistake",
			lesson08.mistakes, 1, 0},
		{"fix: shielded, and waited for", "fix",
			lesson08.fix, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := tt.runs[tt.i].child.watch(
				t.Context(), io.Discard, tt.i, tt.side, "8")
			require.NoError(t, err)
			// All of them say the same, and leave with the same status.
			assert.Equal(t, 0, e[0].code)
			assert.Contains(t, e[0].printed, `msg="successfully shut down"`)
			assert.Equal(t, tt.wantDone,
				strings.Count(e[0].printed, "msg=restarted"))
		})
	}
}
