//go:build unix

package main

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The signal table: what Go does by default, and what our service does. Both
// are the real program. The first is a run of deferOnly, which listens for
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
		{syscall.SIGQUIT, dumped, dumped}, // all stacks
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

// Whoever starts us with HUP ignored, as nohup does, wants us to outlive it.
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

// whatBecomesOf sends a signal to a program that is working. A program that is
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
