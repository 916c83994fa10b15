// Lesson 2.1: TERM, and where it goes.
//
// A program that is stopped by a signal should clean up before it exits. On a
// desk the signal comes from Ctrl-C. In production it is another one, it comes
// when it likes, and it goes to whichever process was started.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// deferOnly is the mistake that needs no code. The program has deferred its
// cleanup, and its author believes that it runs.
func deferOnly(_ *slog.Logger, startUp func()) context.Context {
	startUp()
	return context.Background()
}

// interruptWhenReady is the second mistake. It listens for Ctrl-C only, and
// only when it has something to clean up.
func interruptWhenReady(_ *slog.Logger, startUp func()) context.Context {
	startUp()
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt)
	return ctx
}

// listenFirst is the fix. It calls the service's listen before anything else,
// and listen catches every signal that asks a program to stop.
func listenFirst(log *slog.Logger, startUp func()) context.Context {
	ctx := listen(log)
	startUp()
	return ctx
}

// Even listenFirst hears nothing if the signal goes to another process. A shell
// that starts a program and waits for it does not pass TERM on. With exec the
// program takes the shell's place.
const (
	shellWaits = `"$0" "$@"; exit $?` // the third mistake
	shellExecs = `exec "$0" "$@"`     // its fix
)

type listenFunc func(log *slog.Logger, startUp func()) context.Context

// untilStopped is a whole program. It takes half a second to start, and then
// runs until it is stopped, or for a second. It takes 300ms to clean up.
func untilStopped(
	_ context.Context, s *scene, listen listenFunc,
) verdict {
	signal.Reset() // our own main is already listening
	parent := os.Getppid()
	ctx := listen(s.log, func() {
		s.log.Info("starting")
		time.Sleep(500 * time.Millisecond)
	})
	defer func() {
		time.Sleep(300 * time.Millisecond)
		s.log.Info("cleaned up")
	}()
	s.log.Info("ready")
	select {
	case <-ctx.Done():
		s.log.Info("stopping", "cause", context.Cause(ctx))
	case <-time.After(time.Second):
		s.log.Info("not stopped", "orphan", os.Getppid() != parent)
		os.Exit(1) // in production it would go on
	}
	return verdict{}
}

// stoppedBy has a program stopped by that signal, sent when it prints that
// line.
func stoppedBy(
	sig os.Signal, line, shell string, listen listenFunc,
) []sceneRun {
	return inChild(child{
		verdict: countCleanups,
		shell:   shell,
		gets:    fmt.Sprintf("%s at %s", names[sig], line),
		onLine: func(printed string, p *os.Process) {
			if strings.Contains(printed, line) {
				p.Signal(sig)
			}
		},
	}, runs(untilStopped, listen))
}

// names are how a supervisor calls the signals of this lesson.
var names = map[os.Signal]string{
	os.Interrupt: "SIGINT", syscall.SIGTERM: "SIGTERM",
}

// countCleanups judges a run by whether the program cleaned up.
func countCleanups(endings []ending) verdict {
	e := endings[0]
	cleanups := strings.Count(e.printed, `msg="cleaned up"`)
	how := e.how
	if strings.Contains(e.printed, "orphan=true") {
		how = "the shell ended, " + how
	}
	return verdict{
		text:   fmt.Sprintf("%s, cleanups: %d", how, cleanups),
		failed: cleanups == 0,
	}
}

var lesson01 = lesson{
	number: 1, core: true, title: "TERM, and where it goes",
	watch: `whether the program says "cleaned up" before it ends`,
	mistakes: slices.Concat(
		stoppedBy(os.Interrupt, "msg=ready", "", deferOnly),
		stoppedBy(syscall.SIGTERM, "msg=ready", "", interruptWhenReady),
		stoppedBy(os.Interrupt, "msg=starting", "", interruptWhenReady),
		stoppedBy(syscall.SIGTERM, "msg=ready", shellWaits, listenFirst)),
	fix: slices.Concat(
		stoppedBy(syscall.SIGTERM, "msg=ready", "", listenFirst),
		stoppedBy(os.Interrupt, "msg=starting", "", listenFirst),
		stoppedBy(syscall.SIGTERM, "msg=ready", shellExecs, listenFirst)),
}
