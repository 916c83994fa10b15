// Lesson 3.3: the poison message.
//
// A message fails, is given back, and is delivered again. What if it fails
// every time? What if it never gets as far as failing?

package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// nackAtOnce is the mistake. The broker delivers the message again as fast as
// it can.
func nackAtOnce(ctx context.Context, d *Delivery, failures int, why error) {
	d.Nack(ctx, 0)
}

// backOff is the fix. The pauses grow: the service's backoff computes them.
// After five failures the message becomes a dead letter, with the reason, and
// waits for an operator.
func backOff(ctx context.Context, d *Delivery, failures int, why error) {
	if failures == 5 {
		d.DeadLetter(ctx, fmt.Errorf("failed %d times: %w", failures, why))
		return
	}
	d.Nack(ctx, backoff(1, d.Message, 50*time.Millisecond, failures))
}

// oneContextForAll is the second mistake. All attempts share one time-out, so
// the first one that hangs uses it up.
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

// oneContextEach is the fix for oneContextForAll. An attempt that hangs costs
// only itself.
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

// countFailures is the third mistake. It counts only failures. A message that
// kills its process never fails: the process that would count it is gone.
func countFailures(d *Delivery, failures int) (giveUp error) {
	if failures >= 3 {
		return fmt.Errorf("failed %d times", failures)
	}
	return nil
}

// boundDeliveries is the fix for countFailures. The broker counts deliveries,
// and outlives us.
func boundDeliveries(d *Delivery, failures int) (giveUp error) {
	if d.Attempt > 3 {
		return errTooOften
	}
	return countFailures(d, failures)
}

// A failFunc settles a delivery that has failed, for that reason. failures
// counts this one.
type failFunc func(ctx context.Context, d *Delivery, failures int, why error)

// oneSecond watches a message fail for a second. Each failure takes 1ms.
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
		} else if calls == 6 {
			s.log.Info("and so on")
		}
		fail(ctx, d, calls, errRefused)
		if b.count("dead-lettered") > 0 {
			s.log.Info("dead letter", "delivery", d.Attempt)
		}
	}
	return verdict{
		text: fmt.Sprintf("%d calls in a second, dead letters: %d",
			calls, b.count("dead-lettered")),
		failed: calls > 5,
	}
}

// A tryFunc makes a call, three times at most, until it succeeds.
type tryFunc func(ctx context.Context, call func(context.Context) error)

// hangsTwice calls a host that hangs for two calls, and answers the third after
// 50ms.
func hangsTwice(ctx context.Context, s *scene, try tryFunc) verdict {
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
	answer := "no answer"
	if answered {
		answer = "an answer"
	}
	return verdict{
		text: fmt.Sprintf("%d calls, %d with a context that had ended, "+
			"%s", calls, stillborn, answer),
		failed: !answered,
	}
}

// A giveUpFunc returns why a delivery should not be worked on, or nil.
type giveUpFunc func(d *Delivery, failures int) (giveUp error)

// killsItsProcess watches for 2.75 seconds what becomes of a message that
// kills whichever process has it. Each time its lease, of 500ms, ends first.
func killsItsProcess(
	ctx context.Context, s *scene, giveUp giveUpFunc,
) verdict {
	const failures = 0 // counted
	b := newBroker(slog.New(slog.DiscardHandler), time.Second/2, 1)
	s.broker = b
	publish(ctx, b, s.seed, 1, 0)
	watched, stop := context.WithTimeout(ctx, 2750*time.Millisecond)
	defer stop()
	killed := 0
	for {
		d, err := b.Receive(watched, forever)
		if err != nil {
			break
		}
		if why := giveUp(d, failures); why != nil {
			d.DeadLetter(ctx, why)
			s.log.Info("dead letter", "delivery", d.Attempt, "err", why)
			continue
		}
		killed++
		s.log.Info("killed its process", "delivery", d.Attempt)
	}
	return verdict{
		text: fmt.Sprintf("%d processes killed in 2.75s, dead letters: %d",
			killed, b.count("dead-lettered")),
		failed: b.count("dead-lettered") == 0,
	}
}

var lesson03 = lesson{
	number: 3, core: true, title: "the poison message",
	watch: "how often the work is called, and what puts an end to it",
	mistakes: slices.Concat(runs(oneSecond, nackAtOnce),
		runs(hangsTwice, oneContextForAll),
		runs(killsItsProcess, countFailures)),
	fix: slices.Concat(runs(oneSecond, backOff),
		runs(hangsTwice, oneContextEach),
		runs(killsItsProcess, boundDeliveries)),
}
