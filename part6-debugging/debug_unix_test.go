//go:build unix

package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// withoutAddresses matches what only the dump of a dying process has.
var withoutAddresses = regexp.MustCompile(
	` (gp|m|mp|fp|sp|pc)=\S+| \+0x\S+`)

// QUIT makes the service print its stacks and die. In them, each goroutine that
// works for a message names it, although nothing in the environment asks for
// that. The text shows the one that hangs, with its interesting lines marked.
func TestDump(t *testing.T) {
	t.Parallel()
	path, _, err := program(false)
	require.NoError(t, err)
	cmd := exec.Command(path, "-stuck", "1", "-debug", "127.0.0.1:0")
	cmd.Env = []string{"GOTRACEBACK=single"} // Go's default
	p := startCommand(t, cmd)
	url := pagesOf(t, p)
	require.Eventually(t, func() bool { // it hangs
		_, profile := get(t.Context(), url+inGroups)
		return strings.Contains(profile, "hosts.go")
	}, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, p.Process.Signal(syscall.SIGQUIT))
	status, lines := p.end()
	assert.Equal(t, 2, status, "exit status")
	marks := map[string]string{
		"[chan receive": " <1", "hanging": " <2", "saveAndRestart": " <3",
	}
	var got strings.Builder
	for stack := range strings.SplitSeq(strings.Join(lines, "\n"), "\n\n") {
		if !strings.Contains(stack, "hosts.go") ||
			!strings.Contains(stack, `labels:{"attempt": "1", "msg": "m1"}`) {
			continue
		}
		stack = withoutAddresses.ReplaceAllString(narrow(stack), "")
		for line := range strings.Lines(masked(stack) + "\n") {
			for mark, with := range marks {
				if strings.Contains(line, mark) {
					line = strings.TrimSuffix(line, "\n") + with + "\n"
					delete(marks, mark)
				}
			}
			got.WriteString(line)
		}
	}
	assert.Empty(t, marks, "found")
	const file = "testdata/dump.txt"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "-update records it")
	assert.Equal(t, string(want), got.String())
}
