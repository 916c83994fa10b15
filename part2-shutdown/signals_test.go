//go:build unix

package main

import (
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The signal table: what Go does by default, and what our service does. Both
// are the real program; the first one plays deferOnly, which listens to
// nothing.
func TestSignalTable(t *testing.T) {
	t.Parallel()
	const (
		livesOn = "lives on"
		drained = "exit status 0, drained"
		dumped  = "exit status 2, dumped"
	)
	tests := []struct {
		signal      syscall.Signal
		wantDefault string
		wantOurs    string
	}{
		{syscall.SIGINT, "signal: interrupt", drained},
		{syscall.SIGTERM, "signal: terminated", drained},
		{syscall.SIGHUP, "signal: hangup", drained},
		{syscall.SIGQUIT, dumped, dumped}, // all stacks, if asked for
		{syscall.SIGUSR1, livesOn, livesOn},
		{syscall.SIGPIPE, livesOn, livesOn},
		{syscall.SIGKILL, "signal: killed", "signal: killed"},
	}
	for _, tt := range tests {
		t.Run(tt.signal.String(), func(t *testing.T) {
			t.Parallel()
			path, _, err := program(false)
			require.NoError(t, err)
			byDefault := exec.Command(path, "mistake", "1")
			byDefault.Env = []string{childEnv + "=0"}
			p := startCommand(t, byDefault)
			p.until(t, "msg=ready")
			assert.Equal(t, tt.wantDefault, whatBecomesOf(t, p, tt.signal))

			p = start(t)
			p.until(t, "msg=saved")
			assert.Equal(t, tt.wantOurs, whatBecomesOf(t, p, tt.signal))
		})
	}
}

// Who starts us with HUP ignored, as nohup does, wants us to outlive it.
func TestSignalTableUnderNohup(t *testing.T) {
	t.Parallel()
	path, _, err := program(false)
	require.NoError(t, err)
	p := startCommand(t,
		exec.Command("sh", "-c", `trap "" HUP; exec "$0"`, path))
	p.until(t, "msg=saved")
	require.NoError(t, p.Process.Signal(syscall.SIGHUP))
	p.until(t, "msg=saved") // another one: it lives on
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	status, lines := p.end()
	assert.Equal(t, 0, status)
	assert.Contains(t, strings.Join(lines, "\n"), "terminated signal received")
}

// whatBecomesOf sends a signal to a program that is at work. A program that is
// still there when TERM follows has lived on.
func whatBecomesOf(t *testing.T, p *process, sig syscall.Signal) string {
	t.Helper()
	require.NoError(t, p.Process.Signal(sig))
	harmless := sig == syscall.SIGUSR1 || sig == syscall.SIGPIPE
	if harmless {
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	}
	_, lines := p.end()
	out, state := strings.Join(lines, "\n"), p.ProcessState.String()
	switch {
	case harmless && (state == "signal: terminated" ||
		strings.Contains(out, `cause="terminated`)):
		return "lives on"
	case strings.Contains(out, "SIGQUIT: quit"):
		return state + ", dumped"
	case strings.Contains(out, "msg=drained"):
		return state + ", drained"
	}
	return state
}

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
	assert.GreaterOrEqual(t, counts[0], 5)
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
