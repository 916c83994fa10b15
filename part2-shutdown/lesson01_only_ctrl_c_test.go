package main

import (
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLesson01OnlyCtrlC(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows can't send these signals")
	}
	t.Parallel()
	tests := []struct {
		name, side   string
		runs         []sceneRun
		i            int // number of the run
		wantHow      string
		wantCleanups int
	}{
		{"mistake: a deferred call, and INT", "mistake",
			lesson01.mistakes, 0, "signal: interrupt", 0},
		{"mistake: listens to INT, and gets TERM", "mistake",
			lesson01.mistakes, 1, "signal: terminated", 0},
		{"mistake: listens late, and gets INT early", "mistake",
			lesson01.mistakes, 2, "signal: interrupt", 0},
		{"fix: TERM", "fix", lesson01.fix, 0, "exit status 0", 1},
		{"fix: INT early", "fix", lesson01.fix, 1, "exit status 0", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := tt.runs[tt.i].child.watch(
				t.Context(), io.Discard, tt.i, tt.side, "1")
			require.NoError(t, err)
			assert.Equal(t, tt.wantHow, e[0].how)
			assert.Equal(t, tt.wantCleanups,
				strings.Count(e[0].printed, `msg="cleaned up"`))
		})
	}
}
