// Lesson 1.6: nobody extends.
//
// The broker gives us two seconds for a message. A host that takes three to
// restart is restarted twice: while we are still working, the lease ends, and
// the broker, which can't tell slow from dead, delivers the message again.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// workThenAck is the mistake. It works for every restart that takes less time
// than the lease.
func workThenAck(ctx context.Context, d *Delivery, restart workFunc) {
	restart(ctx, d.Message)
	d.Ack(ctx)
}

// workUnderLease is the fix. keepLease, which the service uses, extends the
// lease while we work, up to a limit. The first extension comes long before the
// lease ends, because the extension itself may be late.
func workUnderLease(ctx context.Context, d *Delivery, restart workFunc) {
	release := keepLease(ctx, d, 800*time.Millisecond, 3500*time.Millisecond)
	restart(ctx, d.Message)
	release() // before the ack, so that no extension comes after it
	d.Ack(ctx)
}

// A handleFunc restarts the host of a delivery and settles it.
type handleFunc func(ctx context.Context, d *Delivery, restart workFunc)

// slowHost publishes one message. Its host takes three seconds to restart, and
// the broker's leases last two. Whatever is delivered is handled.
func slowHost(ctx context.Context, s *scene, handle handleFunc) verdict {
	s.broker = newBroker(s.log, 2*time.Second, 1)
	return deliverAll(ctx, s, handle, s.work("restarted", 3*time.Second))
}

// deliverAll publishes one message and handles its deliveries side by side,
// until it is settled and all of them have ended.
func deliverAll(
	ctx context.Context, s *scene, handle handleFunc, restart workFunc,
) verdict {
	b := s.broker
	publish(ctx, b, s.seed, 1, 0)
	var handlers sync.WaitGroup
	for {
		d, err := b.Receive(ctx, forever)
		if err != nil {
			break
		}
		handlers.Go(func() { handle(ctx, d, restart) })
	}
	handlers.Wait()
	return verdict{
		text: fmt.Sprintf("1 message, deliveries %d, restarts %d, took %v",
			b.count("delivered"), s.count("restarted"), s.elapsed()),
		failed: s.count("restarted") > 1,
	}
}

var lesson06 = lesson{
	number: 6, core: true, title: "nobody extends",
	watch:    "how often the host is restarted: the lease is 2s, a restart 3s",
	mistakes: runs(slowHost, workThenAck),
	fix:      runs(slowHost, workUnderLease),
}
