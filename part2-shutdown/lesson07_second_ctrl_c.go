// Lesson 2.7: the second Ctrl-C.
//
// We press Ctrl-C, and the program says that it drains. We don't want to wait,
// so we press it again.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"
)

// stopWhenDone is the mistake. Until stop is called, every signal goes to the
// context, and the context has ended already.
func stopWhenDone(_ *slog.Logger, ready, drain func()) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ready()
	<-ctx.Done()
	drain()
}

// stopWhenTold is the second mistake. AfterFunc calls stop in a goroutine of
// its own, which wakes in the same instant as ours. Nothing orders the two.
func stopWhenTold(_ *slog.Logger, ready, drain func()) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop)
	ready()
	<-ctx.Done()
	drain()
}

// listenAndSay is the fix. The service's listen calls stop 100ms after the
// first signal, and then logs that a second signal kills. After that line it
// does. A second signal that comes earlier is taken for an echo of the first.
func listenAndSay(log *slog.Logger, ready, drain func()) {
	ctx := listen(log)
	ready()
	<-ctx.Done()
	drain()
}

type drainFunc func(log *slog.Logger, ready, drain func())

// drainEnv makes the drain longer: on a slow machine a test needs time to send
// the second signal.
const drainEnv = "MAYHEM_DRAIN"

// drainForAWhile is a whole program that takes 300ms to drain.
func drainForAWhile(
	_ context.Context, s *scene, program drainFunc,
) verdict {
	signal.Reset() // our own main is already listening
	program(
		s.log,
		func() { s.log.Info("ready") },
		func() {
			s.log.Info("draining")
			takes, err := time.ParseDuration(os.Getenv(drainEnv))
			if err != nil {
				takes = 300 * time.Millisecond
			}
			time.Sleep(takes)
			s.log.Info("drained")
		},
	)
	return verdict{}
}

// pressedTwice interrupts a program when it is ready, and again when it prints
// line. A mistake that shows only in some of its runs is played many times.
func pressedTwice(times int, line string, program drainFunc) []sceneRun {
	return inChild(child{
		verdict: countSwallowed,
		runs:    times,
		gets:    fmt.Sprintf("SIGINT at msg=ready, and again at %q", line),
		onLine: func(printed string, p *os.Process) {
			if strings.Contains(printed, "msg=ready") {
				time.Sleep(10 * time.Millisecond) // it idles, as services do
				p.Signal(os.Interrupt)
			}
			if strings.Contains(printed, line) {
				p.Signal(os.Interrupt)
			}
		},
	}, runs(drainForAWhile, program))
}

// countSwallowed judges the runs by how many drained to the end.
func countSwallowed(endings []ending) verdict {
	swallowed := 0
	for _, e := range endings {
		if strings.Contains(e.printed, "msg=drained") {
			swallowed++
		}
	}
	return verdict{
		text: fmt.Sprintf("the second signal was swallowed in %s of %d runs",
			share(swallowed, len(endings)), len(endings)),
		failed: swallowed > 0,
	}
}

var lesson07 = lesson{
	number: 7, core: true, title: "the second Ctrl-C",
	watch: `whether "drained" still comes after the second signal`,
	mistakes: append(pressedTwice(1, "msg=draining", stopWhenDone),
		pressedTwice(30, "msg=draining", stopWhenTold)...),
	fix: pressedTwice(30, "a second signal kills", listenAndSay),
}
