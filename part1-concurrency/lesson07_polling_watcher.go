// Lesson 1.7: the watcher that polls.
//
// While we work on a message, something has to extend its lease, to notice that
// the work has ended, and to ack. The talk gives all of it to a watcher that
// looks every two seconds.

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ackOnNextLook is the mistake. A goroutine in time.Sleep can't be woken. The
// work ends, but the ack waits until the watcher looks again. By then the
// handler has returned, without waiting for the watcher.
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

// closeDoneTwice is the second mistake, made while fixing the first. Its
// goroutine waits for both at once, and the handler acks. An event in Python
// may be set twice, but a channel can be closed only once.
func closeDoneTwice(ctx context.Context, d *Delivery, restart workFunc) {
	done := make(chan struct{})
	defer close(done) // on every way out
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
		close(done) // don't extend any more: another consumer should try
		return
	}
	d.Ack(ctx)
}

// ackWhenDone is the fix. keepLease has the select, and release may be called
// more than once, on every way out. The handler acks, because it knows how the
// work has ended.
func ackWhenDone(ctx context.Context, d *Delivery, restart workFunc) {
	release := keepLease(ctx, d, 2*time.Second, time.Minute)
	err := restart(ctx, d.Message)
	release() // when it returns, the keeper has ended
	if err == nil {
		d.Ack(ctx)
	}
}

// handleOne has a handler do a restart that takes half a second, on a lease
// of ten seconds.
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

// errNoSuchHost is what the restart fails with.
var errNoSuchHost = errors.New("no such host")

// failOne has a handler restart a host that does not exist. The scene recovers
// a panic that would end a service, so that we see the rest.
func failOne(ctx context.Context, s *scene, handle handleFunc) verdict {
	b := newBroker(s.log, 10*time.Second, 1)
	s.broker = b
	publish(ctx, b, s.seed, 1, 0)
	d, err := b.Receive(ctx, forever)
	if err != nil {
		return verdict{text: err.Error()}
	}
	panicked := any("no panic")
	func() {
		defer func() {
			if p := recover(); p != nil {
				panicked = fmt.Sprintf("panic: %v", p)
				s.log.Info("recovered", "panic", p)
			}
		}()
		handle(ctx, d, func(_ context.Context, msg Message) error {
			time.Sleep(500 * time.Millisecond)
			s.log.Info("failed", "id", msg.ID, "err", errNoSuchHost)
			return errNoSuchHost
		})
	}()
	const watch = 2 * time.Second
	s.log.Info("watching", "for", watch)
	time.Sleep(watch) // a service does not end with its message
	acked := b.count("acked")
	return verdict{
		text:   fmt.Sprintf("failed, acks: %d, %v", acked, panicked),
		failed: acked > 0 || panicked != "no panic",
	}
}

var lesson07 = lesson{
	number: 7, title: "the watcher that polls",
	watch: "when the ack comes, and what happens when a restart fails",
	mistakes: append(runs(handleOne, ackOnNextLook),
		runs(failOne, closeDoneTwice)...),
	fix: append(runs(handleOne, ackWhenDone),
		runs(failOne, ackWhenDone)...),
}
