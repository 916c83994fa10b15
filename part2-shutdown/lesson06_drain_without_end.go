// Lesson 2.6: the drain without end.
//
// To drain is to wait for the work in flight. One handler needs half a second,
// one needs longer than we want to wait, and one hangs, whatever it is told.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// waitForAll is the mistake. It waits until every slot is free. It works,
// until the first handler hangs.
func waitForAll(
	m *Mandrill, ctx context.Context, failed *error,
	slots *semaphore.Weighted, cancel context.CancelCauseFunc,
	puller *sync.WaitGroup,
) error {
	m.log.Info("stopping", "cause", context.Cause(ctx))
	return slots.Acquire(context.WithoutCancel(ctx), int64(m.slots))
}

// The fix is Mandrill.stop, in stop.go, as the service calls it.

// A stopFunc waits for the work in flight to end. See stop for its arguments.
type stopFunc func(
	m *Mandrill, ctx context.Context, failed *error,
	slots *semaphore.Weighted, cancel context.CancelCauseFunc,
	puller *sync.WaitGroup,
) error

// oneHangs stops a service with three messages in progress. The first needs
// 500ms. The second needs a minute, and 200ms to return when it is cancelled.
// The third hangs.
func oneHangs(ctx context.Context, s *scene, stop stopFunc) verdict {
	m := &Mandrill{
		log: s.log, slots: 3, drain: time.Second, grace: time.Second / 2,
	}
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	hang := make(chan struct{})
	s.release = func() { close(hang) }
	slots := semaphore.NewWeighted(3)
	for i, handle := range []func(){
		func() {
			time.Sleep(500 * time.Millisecond)
			s.log.Info("handled", "id", "m1")
		},
		func() {
			sleep(work, time.Minute)
			time.Sleep(200 * time.Millisecond)
			s.log.Info("cut short", "id", "m2")
		},
		func() { <-hang },
	} {
		d := &Delivery{Message: newMessage(s.seed, i+1), Attempt: 1}
		s.log.Info("in progress", "id", d.ID)
		slots.TryAcquire(1)
		m.inFlight.begin(d)
		go func() {
			defer slots.Release(1)
			handle()
			m.inFlight.end(d, nil, 0)
		}()
	}
	stopped, signal := context.WithCancelCause(ctx)
	signal(errStopped)
	var failed error
	var puller sync.WaitGroup // it has ended
	err := stop(m, stopped, &failed, slots, cancel, &puller)
	return verdict{
		text:   fmt.Sprintf("stopped after %v: %v", s.elapsed(), err),
		failed: s.elapsed() > 2*time.Second,
	}
}

var lesson06 = lesson{
	number: 6, core: true, title: "the drain without end",
	watch:    "whether the drain ends, and what becomes of m2 and m3",
	mistakes: inChild(child{hangs: true}, runs(oneHangs, waitForAll)),
	fix:      runs(oneHangs, (*Mandrill).stop),
}
