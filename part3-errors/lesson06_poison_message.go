// Lesson 3.6: the poison message.
//
// A message fails and is given back, and comes again. What if it fails every
// time?

package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

var lesson06 = lesson{
	number: 6, core: true, title: "the poison message",
	mistakes: append(runs(oneSecond, nackAtOnce),
		runs(hangsTwice, oneContextForAll)...),
	fix: append(runs(oneSecond, backOff),
		runs(hangsTwice, oneContextEach)...),
}

// nackAtOnce is the mistake. The message comes back as fast as the broker can
// hand it out.
func nackAtOnce(ctx context.Context, d *Delivery, failures int, why error) {
	d.Nack(ctx, 0)
}

// backOff is the fix. Each pause is longer than the one before, and after five
// failures the message is put aside, with the reason, for a human.
func backOff(ctx context.Context, d *Delivery, failures int, why error) {
	if failures == 5 {
		d.DeadLetter(ctx, fmt.Errorf("failed %d times: %w", failures, why))
		return
	}
	d.Nack(ctx, backoff(1, d.Message, 50*time.Millisecond, failures))
}

type failFunc func(ctx context.Context, d *Delivery, failures int, why error)

// oneSecond watches for a second how a message fails. It takes 1ms to find that
// out.
func oneSecond(ctx context.Context, s *scene, fail failFunc) verdict {
	b := newBroker(slog.New(slog.DiscardHandler), time.Minute, 1)
	s.broker = b
	publish(ctx, b, s.seed, 1, 0)
	watched, stop := context.WithTimeout(ctx,
		time.Second-500*time.Microsecond) // no tie with the last call
	defer stop()
	calls := 0
	for {
		d, err := b.Receive(watched, forever)
		if err != nil {
			break
		}
		time.Sleep(time.Millisecond)
		if calls++; calls <= 5 {
			s.log.Info("failed", "id", d.ID, "delivery", d.Attempt)
		}
		fail(ctx, d, calls, errRefused)
	}
	return verdict{
		text: fmt.Sprintf("%d calls in a second, %d dead letters",
			calls, b.count("dead-lettered")),
		failed: calls > 5,
	}
}

// oneContextForAll is the second mistake. The time-out is for all attempts, so
// the first one that hangs uses it up, and the others have none.
func oneContextForAll(ctx context.Context, call func(context.Context) error) {
	ctx, cancel := context.WithTimeoutCause(
		ctx, 200*time.Millisecond, errTimedOut)
	defer cancel()
	for range 3 {
		if call(ctx) == nil {
			return
		}
	}
}

// oneContextEach is its fix. An attempt that hangs costs only itself.
func oneContextEach(ctx context.Context, call func(context.Context) error) {
	attempt := func() error {
		ctx, cancel := context.WithTimeoutCause(
			ctx, 200*time.Millisecond, errTimedOut)
		defer cancel()
		return call(ctx)
	}
	for range 3 {
		if attempt() == nil {
			return
		}
	}
}

// hangsTwice calls a host that hangs for two calls, and answers the third after
// 50ms.
func hangsTwice(
	ctx context.Context, s *scene,
	try func(ctx context.Context, call func(context.Context) error),
) verdict {
	calls, stillborn, answered := 0, 0, false
	try(ctx, func(ctx context.Context) error {
		calls++
		if ctx.Err() != nil {
			stillborn++
		}
		takes := time.Hour
		if calls == 3 {
			takes = 50 * time.Millisecond
		}
		err := sleep(ctx, takes)
		s.log.Info("called", "call", calls, "err", err)
		answered = err == nil
		return err
	})
	return verdict{
		text: fmt.Sprintf("%d calls, %d with a context that had ended, "+
			"answered %t", calls, stillborn, answered),
		failed: !answered,
	}
}
