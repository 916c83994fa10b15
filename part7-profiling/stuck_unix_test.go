//go:build unix

package main

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A service that abandons work prints where it hangs, and exits with status 1.
// One that abandons nothing prints no stack.
func TestPrintsWhereItHangs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, stuck string
		wantStatus  int
	}{
		{"every restart hangs", "1", 1},
		{"none hangs", "0", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, "-drain", "1ms", "-stuck", tt.stuck)
			for range 3 {
				p.until(t, "msg=delivered")
			}
			require.NoError(t, p.Process.Signal(syscall.SIGTERM))
			status, lines := p.end()
			assert.Equal(t, tt.wantStatus, status, "exit status")
			last := lines[len(lines)-1]
			n := strings.Count(strings.Join(lines, "\n"), "/hosts.go:")
			ids, found := strings.CutPrefix(last, "abandoned ")
			if assert.Equal(t, tt.stuck == "1", found, last); !found {
				assert.Zero(t, n, "stacks")
				return
			}
			assert.GreaterOrEqual(t, n, 1, "stacks")
			assert.LessOrEqual(t, n, strings.Count(ids, "m"), "stacks")
			first := regexp.MustCompile(`(?ms)^goroutine .*?(\n\n|\z)`).
				FindString(strings.Join(lines, "\n"))
			got := strings.TrimSpace(masked(first)) +
				"\n\nabandoned m<n>\n"
			const path = "testdata/stuck.txt"
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err, "-update records it")
			ours := regexp.MustCompile(`<path>/\S+`) // the rest is Go's
			assert.Equal(t, ours.FindAllString(string(want), -1),
				ours.FindAllString(got, -1))
		})
	}
}
