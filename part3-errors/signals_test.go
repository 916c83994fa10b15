//go:build unix

package main

import (
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Stopped in mid-work, the program says each stage in a line, accounts for
// every message in the last one, is back within its budget, and tells by its
// status which stages were needed.
func TestShutdownForReal(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		args       []string
		wantStatus int
		budget     time.Duration // the drain and the grace
		wantStages []string
	}{
		{"all ends in time", nil, 0, 6 * time.Second,
			[]string{"stopped pulling", "drained", "ended"}},
		{"some is cancelled", []string{"-drain", "1ms"}, 3, time.Second,
			[]string{"stopped pulling", "cancelling", "ended"}},
		{"some heeds nothing", []string{"-drain", "1ms", "-stuck", "1"}, 1,
			time.Second,
			[]string{"stopped pulling", "cancelling", "abandoning", "ended"}},
	}
	for _, sig := range []syscall.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP,
	} {
		for _, tt := range tests {
			t.Run(tt.name+", "+sig.String(), func(t *testing.T) {
				t.Parallel()
				p := start(t, tt.args...)
				for range 5 { // in mid-work: no restart takes that little
					p.until(t, "msg=delivered")
				}
				signalled := time.Now()
				require.NoError(t, p.Process.Signal(sig))
				status, lines := p.end()
				assert.Equal(t, tt.wantStatus, status)
				assert.Less(t, time.Since(signalled),
					tt.budget+3*time.Second) // it is a busy machine
				assertAddsUp(t, strings.Join(lines, "\n"))

				var stages []string
				for _, line := range lines {
					for _, stage := range []string{"stopped pulling", "drained",
						"cancelling", "abandoning", "ended"} {
						if strings.Contains(line, `msg="`+stage+`"`) ||
							strings.Contains(line, "msg="+stage+" ") ||
							strings.HasSuffix(line, "msg="+stage) {
							stages = append(stages, stage)
						}
					}
				}
				assert.Equal(t, tt.wantStages, stages)
			})
		}
	}
}

// assertAddsUp checks the last line: what was published is the sum of the rest,
// and there was some.
func assertAddsUp(t *testing.T, out string) {
	t.Helper()
	_, last, ok := strings.Cut(out, "msg=ended ")
	require.True(t, ok)
	var counts []int
	for _, m := range regexp.MustCompile(`=(\d+)`).
		FindAllStringSubmatch(last, -1) {
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		counts = append(counts, n)
	}
	sum := 0
	for _, n := range counts[1:] {
		sum += n
	}
	assert.GreaterOrEqual(t, counts[0], 2)
	assert.Equal(t, counts[0], sum, last)
}

// A second signal ends the program at once, whatever it is waiting for: fifty
// times of fifty.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	var all []*process
	for range 50 {
		all = append(all, start(t, "-stuck", "1", "-drain", "1h"))
	}
	killed := 0
	for _, p := range all {
		p.until(t, "msg=saved") // so m1 is in work, and hangs
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		p.until(t, "stopped pulling")
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		p.end()
		if p.ProcessState.String() == "signal: terminated" {
			killed++
		}
	}
	assert.Equal(t, 50, killed)
}
