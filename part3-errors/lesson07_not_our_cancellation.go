// Lesson 3.7: not our cancellation.
//
// A restart comes back with an error that says "context canceled". Are we being
// shut down? Perhaps. There are other reasons.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

var lesson07 = lesson{
	number: 7, title: "not our cancellation",
	mistakes: append(runs(sixEndings, byTheError),
		runs(loseTheLease, workOn)...),
	fix: append(runs(sixEndings, byTheCause),
		runs(loseTheLease, letGo)...),
}

// byTheError is the mistake. "Canceled" is what every cancel says: ours, that
// of a call that lost a race to another, that of a lease.
func byTheError(ctx context.Context, err error) outcome {
	switch {
	case err == nil:
		return toAck
	case errors.Is(err, context.Canceled):
		return toGiveBack // we are being shut down
	}
	return toRetry
}

// byTheCause is the fix. Our context knows whether it has ended, and why. If it
// has not, the cancel was somebody else's, and the work has failed.
func byTheCause(ctx context.Context, err error) outcome {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errLeaseLost):
		return toLetGo
	case err == nil:
		return toAck
	case errors.Is(cause, errDrainDeadline) && errors.Is(err, ctx.Err()):
		return toGiveBack
	}
	return toRetry
}

type classify func(ctx context.Context, err error) outcome

// An ended is one way in which a restart may end.
type ended struct {
	name  string
	cause error // with which the context of the handler ended, if it did
	err   error // that the restart returned
	want  outcome
}

var waysToEnd = []ended{
	{"restarted", nil, nil, toAck},
	{"the shutdown cancels it", errDrainDeadline, context.Canceled, toGiveBack},
	{"the lease is lost", errLeaseLost, context.Canceled, toLetGo},
	{"a hedged call is cancelled", nil, context.Canceled, toRetry},
	{"it is refused", nil, errRefused, toRetry},
	{"it is refused, then cancelled", errDrainDeadline, errRefused, toRetry},
}

// sixEndings lets restarts end in six ways.
func sixEndings(ctx context.Context, s *scene, judge classify) verdict {
	right := 0
	for _, way := range waysToEnd {
		ctx, cancel := context.WithCancelCause(ctx)
		if way.cause != nil {
			cancel(way.cause)
		}
		got := judge(ctx, way.err)
		cancel(nil)
		if got == way.want {
			right++
		}
		s.log.Info(way.name, "want", way.want, "got", got)
	}
	return verdict{
		text:   fmt.Sprintf("%d of %d right", right, len(waysToEnd)),
		failed: right < len(waysToEnd),
	}
}

// workOn is the second mistake. The keeper says that the lease is lost, and the
// work does not listen.
func workOn(ctx context.Context, d *Delivery, restart workFunc) {
	_, release := keepLease(ctx, quiet, d, 2*time.Second)
	restart(ctx, d.Message)
	release()
	d.Ack(ctx)
}

// letGo is its fix. The work ends with the lease, and whoever has the message
// by then settles it.
func letGo(ctx context.Context, d *Delivery, restart workFunc) {
	leased, release := keepLease(ctx, quiet, d, 2*time.Second)
	err := restart(leased, d.Message)
	release()
	if err == nil {
		d.Ack(ctx)
	} else if d.held() {
		d.Nack(ctx, time.Second)
	}
}

var errDenied = errors.New("access denied")

// quiet is the log of a lesson that shows what the broker says.
var quiet = slog.New(slog.DiscardHandler)

type handleFunc func(ctx context.Context, d *Delivery, restart workFunc)

// loseTheLease lets nobody extend a lease of two seconds. The first restart
// takes five seconds, the second one. The message comes after 100ms.
func loseTheLease(
	ctx context.Context, s *scene, handle handleFunc,
) verdict {
	b := newBroker(s.log, 2*time.Second, 1)
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
	restarted := s.work("restarted", 0)
	var handlers sync.WaitGroup
	for {
		d, err := b.Receive(ctx, 400*time.Millisecond)
		if errors.Is(err, errNothing) {
			continue
		} else if err != nil {
			break
		}
		d.until = d.Asked.Add(2 * time.Second)
		takes := 5 * time.Second
		if d.Attempt == 2 {
			takes = time.Second
		}
		handlers.Go(func() {
			handle(ctx, d, func(ctx context.Context, msg Message) error {
				if err := sleep(ctx, takes); err != nil {
					s.log.Info("cut short", "id", msg.ID, "cause", err)
					return err
				}
				return restarted(ctx, msg)
			})
		})
	}
	handlers.Wait()
	return verdict{
		text: fmt.Sprintf("1 message, deliveries %d, restarts %d",
			b.count("delivered"), s.count("restarted")),
		failed: s.count("restarted") > 1,
	}
}
