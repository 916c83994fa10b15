package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// keepLease extends the lease of a delivery until release is called, until ctx
// ends, or until the limit has passed: if the work takes longer than that, we
// assume that it is stuck and let the broker deliver the message to another
// consumer. If an extension fails, the keeper tries again at the next tick,
// until the lease is lost. The caller must call release. When that returns, no
// extension is under way, so it is safe to settle.
func keepLease(
	ctx context.Context, d *Delivery, every, limit time.Duration,
) (release func()) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	var keeper sync.WaitGroup
	keeper.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				err := d.Extend(ctx)
				if errors.Is(err, errLeaseLost) || errors.Is(err, errSettled) {
					return // once a lease is lost, it can't be extended
				}
			}
		}
	})
	return func() {
		cancel()
		keeper.Wait()
	}
}
