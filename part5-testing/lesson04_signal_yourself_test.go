//go:build unix

package main

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var setupFlag = flag.Duration("setup", 0,
	"how long the set-up of lesson 4 takes: longer on a slow machine")

// TestMistake04KillsItself is the first mistake. It sends the signal
// after 100ms, when it assumes that the service is listening.
func TestMistake04KillsItself(t *testing.T) {
	go func() {
		time.Sleep(100 * time.Millisecond)
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}()

	time.Sleep(*setupFlag)
	ctx := listen(quiet)
	<-ctx.Done()

	assert.EqualError(t, context.Cause(ctx), "terminated signal received")
}

// TestMistake04HearsItself is the second mistake. It hears the signals
// because it calls signal.Notify itself.
func TestMistake04HearsItself(t *testing.T) {
	if !hasBug(t, "deaf") {
		listen(quiet)
	}
	for _, sig := range []syscall.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1,
	} {
		heard := make(chan os.Signal, 1)
		signal.Notify(heard, sig)

		syscall.Kill(os.Getpid(), sig)

		assert.Equal(t, sig, <-heard)
		signal.Stop(heard)
	}
}

// TestFix04StartsTheProgram is the fix. It starts the program, waits for the
// line that says that it works, sends it the signal, and looks at what the
// program prints after that, and at its exit status.
func TestFix04StartsTheProgram(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		signals    []syscall.Signal
		want       string // what it prints after the last of them
		wantStatus int    // -1 if the signal kills it
		wantEnd    bool   // it says what became of every message
	}{
		{"INT", []syscall.Signal{syscall.SIGINT},
			`cause="interrupt signal received"`, 0, true},
		{"TERM", []syscall.Signal{syscall.SIGTERM},
			`cause="terminated signal received"`, 0, true},
		{"HUP", []syscall.Signal{syscall.SIGHUP},
			`cause="hangup signal received"`, 0, true},
		{"USR1 is ignored", []syscall.Signal{syscall.SIGUSR1, syscall.SIGTERM},
			`cause="terminated signal received"`, 0, true},
		{"QUIT", []syscall.Signal{syscall.SIGQUIT}, "SIGQUIT: quit", 2, false},
		{"KILL", []syscall.Signal{syscall.SIGKILL}, "", -1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, "-speed", "10")
			for _, sig := range tt.signals {
				p.until(t, "msg=delivered") // it works, or goes on working
				require.NoError(t, p.Process.Signal(sig))
			}
			status, lines := p.end()
			printed := strings.Join(lines, "\n")
			assert.Equal(t, tt.wantStatus, status, "exit status: %s", printed)
			assert.Contains(t, printed, tt.want)
			assert.Equal(t, tt.wantEnd, strings.Contains(printed, "msg=ended"),
				"the last line")
		})
	}
}

func TestLesson04SignalYourself(t *testing.T) {
	playTests(t, lesson04, []testRun{
		{"mistake: the signal kills the test", "mistake", 0,
			verdict{"red: signal: terminated, without a bug", true}},
		{"mistake: the test hears its own signals", "mistake", 1,
			verdict{"green: TestMistake04HearsItself" +
				", in spite of the bug", true}},
		{"fix: the signal is sent to the program", "fix", 0,
			verdict{"green: TestFix04StartsTheProgram", false}},
	})
}
