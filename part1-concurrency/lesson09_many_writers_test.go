package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A race ends the process with status 66. So each plays in a process of its
// own, built for the race detector.
func TestLesson09ManyWriters(t *testing.T) {
	needRace(t)
	t.Parallel()
	tests := []struct {
		name, side string
		child      *child
		wantCode   int
		wantRaces  int
	}{
		{"mistake: the log line reads what the other writes", "mistake",
			lesson09.mistakes[0].child, 66, 1},
		{"fix: each has its own result", "fix",
			lesson09.fix[0].child, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := tt.child.watch(t.Context(), io.Discard, 0, tt.side, "9")
			require.NoError(t, err)
			assert.Equal(t, tt.wantCode, e[0].code)
			assert.Equal(t, tt.wantRaces,
				strings.Count(e[0].printed, "WARNING: DATA RACE"))
		})
	}
}
