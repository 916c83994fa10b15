// Lesson 2.7: the second Ctrl-C.
//
// We press Ctrl-C, and the program says that it drains. We don't want to wait
// and press it again.

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"
)

var lesson07 = lesson{
	number: 7, core: true, title: "the second Ctrl-C",
	mistakes: append(pressedTwice(1, stopWhenDone),
		pressedTwice(50, stopWhenTold)...),
	fix: pressedTwice(50, stopFirst),
}

// stopWhenDone is the mistake. Until stop is called, every signal goes to the
// context, and the context has ended already.
func stopWhenDone(ready, drain func()) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ready()
	<-ctx.Done()
	drain()
}

// stopWhenTold is the second mistake. AfterFunc calls stop in a goroutine of
// its own, and that one and ours wake in the same instant.
func stopWhenTold(ready, drain func()) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop)
	ready()
	<-ctx.Done()
	drain()
}

// stopFirst is the fix. When the first line says that we drain, the second
// signal has its default effect.
func stopFirst(ready, drain func()) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ready()
	<-ctx.Done()
	stop()
	drain()
}

// pressedTwice lets a program be interrupted when it is ready, and again in the
// instant in which it says that it drains: that often, for a share.
func pressedTwice(times int, program func(ready, drain func())) []sceneRun {
	return inChild(child{
		verdict: countSwallowed,
		runs:    times,
		onLine: func(line string, p *os.Process) {
			if strings.Contains(line, "msg=ready") {
				time.Sleep(10 * time.Millisecond) // it idles, as services do
				p.Signal(os.Interrupt)
			}
			if strings.Contains(line, "msg=draining") {
				p.Signal(os.Interrupt)
			}
		},
	}, runs(drainForAWhile, program))
}

// drainForAWhile is a whole program that takes 100ms to drain.
func drainForAWhile(
	_ context.Context, s *scene, program func(ready, drain func()),
) verdict {
	signal.Reset() // our own main has listened already
	program(
		func() { s.log.Info("ready") },
		func() {
			s.log.Info("draining")
			time.Sleep(100 * time.Millisecond)
			s.log.Info("drained")
		},
	)
	return verdict{}
}

// countSwallowed judges by how many drained to the end.
func countSwallowed(endings []ending) verdict {
	swallowed := 0
	for _, e := range endings {
		if strings.Contains(e.printed, "msg=drained") {
			swallowed++
		}
	}
	return verdict{
		text: fmt.Sprintf("the second signal was swallowed %s of %d times",
			share(swallowed, len(endings)), len(endings)),
		failed: swallowed > 0,
	}
}
