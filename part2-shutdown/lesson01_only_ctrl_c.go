// Lesson 2.1: only Ctrl-C, and too late.
//
// A program that is stopped by a signal should clean up before it leaves. On a
// desk the signal comes from Ctrl-C. In production it is another one, and it
// comes when it likes.

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

var lesson01 = lesson{
	number: 1, core: true, title: "only Ctrl-C, and too late",
	mistakes: append(
		stoppedBy(os.Interrupt, "msg=ready", deferOnly),
		append(
			stoppedBy(syscall.SIGTERM, "msg=ready", interruptWhenReady),
			stoppedBy(os.Interrupt, "msg=starting", interruptWhenReady)...,
		)...),
	fix: append(
		stoppedBy(syscall.SIGTERM, "msg=ready", listenFirst),
		stoppedBy(os.Interrupt, "msg=starting", listenFirst)...),
}

// deferOnly is the mistake that needs no code. The caller has deferred the
// cleanup, and believes that it runs.
func deferOnly(startUp func()) (context.Context, context.CancelFunc) {
	startUp()
	return context.WithCancel(context.Background())
}

// interruptWhenReady is the second mistake. It listens to Ctrl-C only, and only
// when it has something to clean up.
func interruptWhenReady(startUp func()) (context.Context, context.CancelFunc) {
	startUp()
	return signal.NotifyContext(context.Background(), os.Interrupt)
}

// listenFirst is the fix. It listens before it does anything else, to all that
// ask for an end. Who started us with one of them ignored, as nohup does with
// HUP, wants us to outlive it; to listen would undo that.
func listenFirst(startUp func()) (context.Context, context.CancelFunc) {
	signals := []os.Signal{syscall.SIGTERM}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			signals = append(signals, sig)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	startUp()
	return ctx, stop
}

type listenFunc func(startUp func()) (context.Context, context.CancelFunc)

// stoppedBy lets a program be stopped by that signal, sent when it prints that
// line.
func stoppedBy(sig os.Signal, line string, listen listenFunc) []sceneRun {
	return inChild(child{
		verdict: countCleanups,
		onLine: func(printed string, p *os.Process) {
			if strings.Contains(printed, line) {
				p.Signal(sig)
			}
		},
	}, runs(untilStopped, listen))
}

// untilStopped is a whole program. It takes half a second to start, and then
// runs until it is stopped.
func untilStopped(
	_ context.Context, s *scene, listen listenFunc,
) verdict {
	signal.Reset() // our own main has listened already
	defer s.log.Info("cleaned up")
	ctx, stop := listen(func() {
		s.log.Info("starting")
		time.Sleep(500 * time.Millisecond)
	})
	defer stop()
	s.log.Info("ready")
	<-ctx.Done()
	s.log.Info("stopping", "cause", context.Cause(ctx))
	return verdict{}
}

// countCleanups judges by whether the program cleaned up.
func countCleanups(endings []ending) verdict {
	e := endings[0]
	cleanups := strings.Count(e.printed, `msg="cleaned up"`)
	return verdict{
		text:   fmt.Sprintf("%s, cleaned up %d times", e.how, cleanups),
		failed: cleanups == 0,
	}
}
