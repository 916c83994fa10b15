package main

import (
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLesson01WhereTermGoes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows can't send these signals")
	}
	t.Parallel()
	type printed struct{ cleanedUp, orphan int }
	tests := []struct {
		name    string
		side    string
		run     int
		wantHow string // of the process that got the signal
		want    printed
	}{
		{
			name: "mistake: a deferred call, and INT", side: "mistake", run: 0,
			wantHow: "signal: interrupt",
		},
		{
			name: "mistake: it listens for INT, TERM comes", side: "mistake",
			run:     1,
			wantHow: "signal: terminated",
		},
		{
			name: "mistake: it listens late, INT comes early", side: "mistake",
			run:     2,
			wantHow: "signal: interrupt",
		},
		{
			name: "mistake: the shell gets TERM", side: "mistake", run: 3,
			wantHow: "signal: terminated",
			want:    printed{orphan: 1},
		},
		{
			name: "fix: it listens, and TERM comes", side: "fix", run: 0,
			wantHow: "exit status 0",
			want:    printed{cleanedUp: 1},
		},
		{
			name: "fix: it listens first, INT comes early", side: "fix", run: 1,
			wantHow: "exit status 0",
			want:    printed{cleanedUp: 1},
		},
		{
			name: "fix: the program replaces the shell", side: "fix", run: 2,
			wantHow: "exit status 0",
			want:    printed{cleanedUp: 1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := watchRun(t, lesson01, tt.side, tt.run)[0]
			assert.Equal(t, tt.wantHow, e.how, "how it ended")
			assert.Equal(t, tt.want, printed{
				cleanedUp: strings.Count(e.printed, `msg="cleaned up"`),
				orphan:    strings.Count(e.printed, "orphan=true"),
			}, "what was printed")
		})
	}
}

// go run is such a parent, too: it does not pass TERM on.
func TestLesson01GoRun(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows can't send these signals")
	}
	t.Parallel()
	cmd := exec.Command("go", "run", ".", "mistake", "1")
	cmd.Env = []string{childEnv + "=3"} // the run that listens first
	p := startCommand(t, cmd)
	p.until(t, "msg=ready")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	_, lines := p.end()
	assert.Equal(t, "signal: terminated", p.ProcessState.String(), "go run")
	t.Log(strings.Join(lines, "\n"))
	assert.Contains(t, strings.Join(lines, "\n"), "orphan=true")
}
