// Lesson 1.6: the watcher that polls.
//
// While we work on a message, somebody has to extend its lease, to notice that
// the work has ended, and to acknowledge. The talk gives all of it to a watcher
// that looks every two seconds.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

var lesson06 = lesson{
	number: 6, title: "the watcher that polls",
	mistakes: runs(handleOne, ackOnNextLook),
	fix:      runs(handleOne, ackWhenDone),
}

// ackOnNextLook is the mistake. A goroutine in time.Sleep hears nothing: the
// work ends, and the ack waits until the watcher looks again. By then handling
// has returned, and nobody waits for the watcher.
func ackOnNextLook(ctx context.Context, d *Delivery, restart workFunc) {
	done := make(chan struct{}) // closed below, when the work has ended
	go func() {
		for {
			select {
			case <-done:
				d.Ack(ctx)
				return
			default:
				d.Extend(ctx)
				time.Sleep(2 * time.Second)
			}
		}
	}()
	restart(ctx, d.Message)
	close(done)
}

// closeDoneTwice is a second mistake, met on the way out of the first. An event
// in Python may be set twice; a channel can be closed only once. It goes well
// until the first restart fails.
func closeDoneTwice(ctx context.Context, d *Delivery, restart workFunc) {
	done := make(chan struct{})
	defer close(done) // whichever way we leave
	go func() {
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				d.Extend(ctx)
			}
		}
	}()
	if restart(ctx, d.Message) != nil {
		close(done) // let the lease run out: somebody else shall try
		return
	}
	d.Ack(ctx)
}

// ackWhenDone is the fix. The watcher waits for both things at once, and it has
// one job less: the one who works knows best when to acknowledge.
func ackWhenDone(ctx context.Context, d *Delivery, restart workFunc) {
	done := make(chan struct{}) // closed below, when the work has ended
	var watcher sync.WaitGroup
	watcher.Go(func() {
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				d.Extend(ctx)
			}
		}
	})
	restart(ctx, d.Message)
	close(done)
	watcher.Wait() // or an extension could come after the ack
	d.Ack(ctx)
}

type handleFunc func(ctx context.Context, d *Delivery, restart workFunc)

// handleOne lets a handler restart a host that takes half a second, on a lease
// of ten.
func handleOne(ctx context.Context, s *scene, handle handleFunc) verdict {
	b := newBroker(s.log, 10*time.Second, 1)
	s.broker = b
	publish(ctx, b, s.seed, 1, 0)
	d, err := b.Receive(ctx, forever)
	if err != nil {
		return verdict{text: err.Error()}
	}
	handle(ctx, d, s.work("restarted", 500*time.Millisecond))
	b.Receive(ctx, forever) // until the message is settled: there is no other
	return verdict{
		text:   fmt.Sprintf("work took 500ms, ack came at %v", s.elapsed()),
		failed: s.elapsed() >= time.Second,
	}
}
