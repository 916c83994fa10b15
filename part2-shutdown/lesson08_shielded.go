// Lesson 2.8: shielded, not waited for.
//
// Some work must not be cut short by a shutdown: a restart, say, that leaves a
// host half down. So it gets a context that no signal ends.

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

var lesson08 = lesson{
	number: 8, title: "shielded, not waited for",
	mistakes: inChild(child{verdict: countDone},
		runs(stopInMidRestart, shieldOnly, shareTheCancel)),
	fix: inChild(child{verdict: countDone},
		runs(stopInMidRestart, shieldAndWait)),
}

// shieldOnly is the mistake. Nothing cancels the work, and nobody waits for it:
// it ends with main.
func shieldOnly(ctx context.Context, work func(context.Context)) {
	go work(context.WithoutCancel(ctx))
	<-ctx.Done()
}

// shareTheCancel is the second mistake. It is waited for, but the one who waits
// has the cancel of the work, and uses it when told to stop.
func shareTheCancel(ctx context.Context, work func(context.Context)) {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var shielded sync.WaitGroup
	shielded.Go(func() { work(inner) })
	<-ctx.Done()
	cancel()
	shielded.Wait()
}

// shieldAndWait is the fix. Nothing cancels the work, and it is waited for.
func shieldAndWait(ctx context.Context, work func(context.Context)) {
	var shielded sync.WaitGroup
	shielded.Go(func() { work(context.WithoutCancel(ctx)) })
	<-ctx.Done()
	shielded.Wait()
}

// stopInMidRestart is a whole program. It is stopped after 200ms, in the middle
// of a restart that takes 600ms.
func stopInMidRestart(
	ctx context.Context, s *scene,
	program func(ctx context.Context, work func(context.Context)),
) verdict {
	ctx, cancel := context.WithTimeoutCause(
		ctx, 200*time.Millisecond, errStopped)
	defer cancel()
	program(ctx, func(ctx context.Context) {
		if err := sleep(ctx, 600*time.Millisecond); err != nil {
			s.log.Info("cut short", "err", err)
			return
		}
		s.log.Info("restarted")
	})
	s.log.Info("successfully shut down")
	return verdict{}
}

// countDone judges by whether the work was done.
func countDone(endings []ending) verdict {
	e := endings[0]
	done := strings.Count(e.printed, "msg=restarted")
	return verdict{
		text:   fmt.Sprintf("%s, restarts done: %d of 1", e.how, done),
		failed: done < 1,
	}
}
