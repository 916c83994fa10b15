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
		act          act
		wantCode     int
		wantConsumed int
	}{
		{"mistake: nobody waits", "mistake", lesson02.mistakes[0], 0, 0},
		{"fix: main waits", "fix", lesson02.fix[0], 0, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := watch(t.Context(), io.Discard, tt.act, 0, tt.side, "2")
			require.NoError(t, err)
			assert.Equal(t, tt.wantCode, e.code)
			assert.Equal(t, tt.wantConsumed,
				strings.Count(e.printed, "msg=consumed"))
		})
	}
}
