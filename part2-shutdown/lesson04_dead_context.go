// Lesson 2.4: nack with a dead context.
//
// The service is stopped, and what it can't finish it gives back, so that
// others need not wait until the lease has run out. Everything it calls takes a
// context, and it has one at hand.

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var lesson04 = lesson{
	number: 4, core: true, title: "nack with a dead context",
	mistakes: runs(stopInMidWork, nackWithTheSame),
	fix:      runs(stopInMidWork, nackWithItsOwn),
}

// nackWithTheSame is the mistake. The context has ended: that is why we are
// here. Nothing is sent any more, and the error is ignored.
func nackWithTheSame(ctx context.Context, d *Delivery) {
	d.Nack(ctx, 0)
}

// nackWithItsOwn is the fix. It keeps the values of the context, not its end,
// and has a time-out of its own, because a broker that does not answer should
// not hold up the shutdown.
func nackWithItsOwn(ctx context.Context, d *Delivery) {
	ctx, cancel := context.WithTimeoutCause(
		context.WithoutCancel(ctx), 500*time.Millisecond, errNoAnswer)
	defer cancel()
	d.Nack(ctx, 0)
}

type giveBackFunc func(ctx context.Context, d *Delivery)

// stopInMidWork stops a service after 380ms. It works on the second message,
// and the third is on its way.
func stopInMidWork(
	ctx context.Context, s *scene, giveBack giveBackFunc,
) verdict {
	return stopAt(ctx, s, giveBack, 380*time.Millisecond)
}

// stopAt stops a service that works on two messages at a time, for 300ms each,
// and returns early when it is cancelled. A message is 50ms on its way to us,
// and we wait for it even if we are stopped meanwhile. What we have then is
// given back, whether we have begun with it or not.
func stopAt(
	ctx context.Context, s *scene, giveBack giveBackFunc, at time.Duration,
) verdict {
	ctx, stop := context.WithCancelCause(ctx)
	b := newBroker(s.log, 10*time.Second, 6)
	b.slow = map[string]time.Duration{"receive": 50 * time.Millisecond}
	s.broker = b
	publish(ctx, b, s.seed, 6, 0)
	timer := time.AfterFunc(at, func() {
		s.log.Info("signal")
		stop(errStopped)
	})
	defer timer.Stop()

	handle := func(d *Delivery) {
		if sleep(ctx, 300*time.Millisecond) != nil {
			giveBack(ctx, d)
		} else if errors.Is(d.Ack(ctx), errStopped) {
			giveBack(ctx, d) // stopped in this very instant
		}
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
		handlers.Go(func() {
			defer func() { <-slots }()
			handle(d)
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
