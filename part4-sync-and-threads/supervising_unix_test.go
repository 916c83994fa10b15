//go:build unix

package main

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A worker that listens to TERM ends by itself. One that doesn't is killed
// after the grace.
func TestStopsGently(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, what string
		grace      time.Duration
		wantErr    string
		wantLines  string
	}{
		{"it listens", "works", time.Minute, "context canceled",
			"worker: working|worker: done"},
		{"it does not", "ignores TERM", 250 * time.Millisecond,
			"signal: killed", "worker: working"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			cmd, err := newWorker(ctx, tt.what)
			require.NoError(t, err)
			stopGently(cmd, tt.grace)
			var lines []string
			err = letExecRead(cmd, func(line string) {
				lines = append(lines, line)
				cancel()
			})
			assert.EqualError(t, err, tt.wantErr)
			assert.True(t, strings.HasPrefix(
				strings.Join(lines, "|"), tt.wantLines), "%v", lines)
			assert.ErrorIs(t, syscall.Kill(cmd.Process.Pid, 0), syscall.ESRCH,
				"left in the process table")
		})
	}
}
