package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// keepLease extends a lease again and again, until release is called or the
// limit has passed: work that takes longer is taken for stuck, and somebody
// else shall have the message. The context that it returns ends with the lease,
// and its cause is then errLeaseLost.
//
// Whether we still have the lease we know only by our own clock: from is an
// instant before the broker can have begun to count, and every extension that
// was confirmed counts from before it was sent.
//
// The caller must call release. When that returns, no extension is under way
// any more, and it tells whether we still have the lease: then it is safe to
// settle, and else not our business.
func keepLease(
	ctx context.Context, d *Delivery, from time.Time,
	lease, limit time.Duration,
) (leased context.Context, release func() (held bool)) {
	leased, cancel := context.WithCancelCause(ctx)
	end := from.Add(lease) // the keeper's, until that has ended
	var keeper sync.WaitGroup
	keeper.Go(func() {
		tick := time.NewTicker(lease * 2 / 5)
		defer tick.Stop()
		lost := time.NewTimer(time.Until(end))
		defer lost.Stop()
		for until := from.Add(limit); ; {
			select {
			case <-leased.Done():
				return // also when we are told to stop: it has the rest
			case <-lost.C:
				cancel(errLeaseLost)
				return
			case now := <-tick.C:
				if now.After(until) {
					continue // let it run out
				}
				before := time.Now()
				err := extendBefore(leased, d, end)
				if errors.Is(err, errLeaseLost) || errors.Is(err, errSettled) {
					cancel(errLeaseLost)
					return
				} else if err == nil {
					end = before.Add(lease)
					lost.Reset(time.Until(end))
				}
			}
		}
	})
	return leased, func() bool {
		cancel(nil)
		keeper.Wait()
		return !errors.Is(context.Cause(leased), errLeaseLost) &&
			time.Now().Before(end)
	}
}

// extendBefore extends a lease, unless that takes until after its end.
func extendBefore(ctx context.Context, d *Delivery, end time.Time) error {
	ctx, cancel := context.WithDeadlineCause(ctx, end, errLeaseLost)
	defer cancel()
	return d.Extend(ctx)
}
