// Lesson 3.6: the lease is lost.
//
// The broker no longer accepts extensions. So the lease ends while the handler
// is still working, and the message is delivered again.

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// workOn is the mistake. The keeper cancels its context when the lease is lost,
// but the work has another one. It goes on, and then settles what is no longer
// its own.
func workOn(ctx context.Context, d *Delivery, restart workFunc) {
	_, release := keepLease(ctx, quiet, d, time.Second)
	restart(ctx, d.Message)
	release()
	d.Ack(ctx)
}

// letGoOfDone is the second mistake. It looks at the lease first, so finished
// work is repeated.
func letGoOfDone(ctx context.Context, d *Delivery, restart workFunc) {
	leased, release := keepLease(ctx, quiet, d, time.Second)
	err := restart(leased, d.Message)
	release()
	switch {
	case !d.held():
		return // perhaps another consumer has it by now
	case err == nil:
		d.Ack(ctx)
	default:
		d.Nack(ctx, time.Second)
	}
}

// letGoForEver is the third mistake. It is right for each delivery. But if all
// of them lose their lease, there is no end to it.
func letGoForEver(ctx context.Context, d *Delivery, restart workFunc) {
	leased, release := keepLease(ctx, quiet, d, time.Second)
	err := restart(leased, d.Message)
	release()
	switch do, _ := judge(d.held(), nil, err); do {
	case toAck: // the work is finished: one ack can do no harm
		d.Ack(ctx)
	case toRetry:
		d.Nack(ctx, time.Second)
	}
}

// letGo is the fix for all three. The work ends with the lease, finished work
// is still acked, once, and a bound on deliveries ends the rest. keepLease and
// judge are the service's.
func letGo(ctx context.Context, d *Delivery, restart workFunc) {
	if d.Attempt > 3 {
		d.DeadLetter(ctx, errTooOften)
		return
	}
	letGoForEver(ctx, d, restart)
}

// errDenied is how the broker refuses an extension.
var errDenied = errors.New("access denied")

// A handleFunc restarts the host of a delivery and settles it, or lets it go.
type handleFunc func(ctx context.Context, d *Delivery, restart workFunc)

// A loss says how restarts behave when a lease lasts a second and can't be
// extended.
type loss struct {
	first, next time.Duration // how long the first one takes, and the others
	stubborn    bool          // the first one ignores its context
	sideBySide  bool          // there is a consumer for each delivery
}

// loseTheLease has the first restart take 2.5 seconds, and the next one half a
// second.
func loseTheLease(ctx context.Context, s *scene, handle handleFunc) verdict {
	return playLoss(ctx, s, handle, loss{
		first: 2500 * time.Millisecond, next: time.Second / 2, sideBySide: true,
	})
}

// doneTooLate has the first restart take 1.5 seconds and succeed.
func doneTooLate(ctx context.Context, s *scene, handle handleFunc) verdict {
	return playLoss(ctx, s, handle, loss{
		first: 1500 * time.Millisecond, next: time.Second / 2, stubborn: true,
	})
}

// neverInTime has every restart take 2.5 seconds.
func neverInTime(ctx context.Context, s *scene, handle handleFunc) verdict {
	return playLoss(ctx, s, handle, loss{
		first: 2500 * time.Millisecond, next: 2500 * time.Millisecond,
	})
}

// playLoss publishes a message after 100ms and handles its deliveries until it
// is settled, or for five seconds.
func playLoss(
	ctx context.Context, s *scene, handle handleFunc, how loss,
) verdict {
	s.log.Info("restarts take", "first", how.first, "next", how.next,
		"lease", time.Second)
	ctx, stop := context.WithTimeout(ctx, 5050*time.Millisecond)
	defer stop()
	b := newBroker(s.log, time.Second, 1)
	b.fail = func(verb, _ string) (bool, error) {
		if verb == "extend" {
			return false, errDenied
		}
		return false, nil
	}
	s.broker = b
	time.AfterFunc(100*time.Millisecond, func() {
		publish(ctx, b, s.seed, 1, 0)
	})
	var handlers sync.WaitGroup
	for ctx.Err() == nil {
		asked := time.Now()
		d, err := b.Receive(ctx, time.Second/5)
		if errors.Is(err, errClosed) {
			break
		} else if err != nil {
			continue
		}
		d.until = asked.Add(b.lease)
		handlers.Go(func() {
			handle(ctx, d, func(ctx context.Context, msg Message) error {
				takes := how.next
				if d.Attempt == 1 {
					takes = how.first
				}
				if d.Attempt == 1 && how.stubborn {
					time.Sleep(takes)
				} else if err := sleep(ctx, takes); err != nil {
					s.log.Info("cut short", "id", msg.ID, "cause", err)
					return err
				}
				s.did("restarted", msg, takes)
				return nil
			})
		})
		if !how.sideBySide {
			handlers.Wait()
		}
	}
	handlers.Wait()
	is := b.states()
	return verdict{
		text: fmt.Sprintf("deliveries %d, restarts %d, settled %d of 1",
			b.count("delivered"), s.count("restarted"),
			is[acked]+is[deadLettered]),
		failed: s.count("restarted") > 1 || is[acked]+is[deadLettered] == 0,
	}
}

var lesson06 = lesson{
	number: 6, title: "the lease is lost",
	watch: "how often the host is restarted, and whether deliveries end",
	mistakes: slices.Concat(runs(loseTheLease, workOn),
		runs(doneTooLate, letGoOfDone), runs(neverInTime, letGoForEver)),
	fix: slices.Concat(runs(loseTheLease, letGo),
		runs(doneTooLate, letGo), runs(neverInTime, letGo)),
}
