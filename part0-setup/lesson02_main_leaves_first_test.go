package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLesson02MainLeavesFirst(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, side   string
		child        *child
		wantCode     int
		wantConsumed int
	}{
		{"mistake: nobody waits", "mistake", lesson02.mistakes[0].child, 0, 0},
		{"fix: main waits", "fix", lesson02.fix[0].child, 0, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := tt.child.watch(t.Context(), io.Discard, 0, tt.side, "2")
			require.NoError(t, err)
			assert.Equal(t, tt.wantCode, e[0].code)
			assert.Equal(t, tt.wantConsumed,
				strings.Count(e[0].printed, "msg=consumed"))
		})
	}
}
