// Lesson 2.4: settling with a dead context.
//
// The service is stopped. What it has finished it acks, and what it can't
// finish it gives back, so that another consumer need not wait until the lease
// has ended. Every call takes a context, and there is one at hand.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// settleWithTheSame is the mistake. The context has ended: that is why we are
// here. Nothing is sent any more.
func settleWithTheSame(
	ctx context.Context, verb func(context.Context) error,
) error {
	return verb(ctx)
}

// settleWithItsOwn is the fix. settling, which the service uses, keeps the
// values of the context but not its end. It has a time-out of its own, because
// a broker that does not answer should not hold up the shutdown.
func settleWithItsOwn(
	ctx context.Context, verb func(context.Context) error,
) error {
	ctx, cancel := settling(ctx, 500*time.Millisecond)
	defer cancel()
	return verb(ctx)
}

// A settleFunc calls a verb when the context of the work has ended.
type settleFunc func(
	ctx context.Context, verb func(context.Context) error) error

// stopInMidWork stops a service after 380ms. The second message is nearly done,
// and the third is on its way.
func stopInMidWork(
	ctx context.Context, s *scene, settle settleFunc,
) verdict {
	s.broker = newBroker(s.log, 10*time.Second, 6)
	return stopAt(ctx, s, settle, 380*time.Millisecond)
}

// stopAt stops a service that works on two messages at a time. Those with an
// odd number take 300ms, and their work returns early when its context ends.
// Those with an even number take 320ms and can't be cut short. A message is on
// its way to us for 50ms, and we wait for it even if we are stopped meanwhile.
func stopAt(
	ctx context.Context, s *scene, settle settleFunc, at time.Duration,
) verdict {
	ctx, stop := context.WithCancelCause(ctx)
	b := s.broker
	b.slow = map[string]time.Duration{"receive": 50 * time.Millisecond}
	publish(ctx, b, s.seed, 6, 0)
	timer := time.AfterFunc(at, func() {
		s.log.Info("signal")
		stop(errStopped)
	})
	defer timer.Stop()

	handle := func(d *Delivery, odd bool) {
		verb := d.Ack
		if !odd {
			time.Sleep(320 * time.Millisecond)
		} else if sleep(ctx, 300*time.Millisecond) != nil {
			verb = func(ctx context.Context) error { return d.Nack(ctx, 0) }
		}
		settle(ctx, verb) // the broker logs what it refuses
	}
	var handlers sync.WaitGroup
	slots := make(chan struct{}, 2)
	for ctx.Err() == nil {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		d, err := b.Receive(context.WithoutCancel(ctx), time.Second)
		if err != nil { // nothing came
			<-slots
			continue
		}
		odd := b.count("delivered")%2 == 1
		handlers.Go(func() {
			defer func() { <-slots }()
			handle(d, odd)
		})
	}
	handlers.Wait()
	delivered, acked := b.count("delivered"), b.count("acked")
	return verdict{
		text: fmt.Sprintf("%d delivered, %d acked, %d nacked",
			delivered, acked, b.count("nacked")),
		failed: delivered != acked+b.count("nacked"),
	}
}

var lesson04 = lesson{
	number: 4, core: true, title: "settling with a dead context",
	watch:    "the last two lines of the log: do the ack and the nack arrive?",
	mistakes: runs(stopInMidWork, settleWithTheSame),
	fix:      runs(stopInMidWork, settleWithItsOwn),
}
