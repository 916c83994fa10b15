package main

import (
	"context"
	"sync"
	"time"
)

// keepLease extends a lease again and again, until release is called or the
// limit has passed: work that takes longer is taken for stuck, and somebody
// else shall have the message. The caller must call release. When that returns,
// no extension is under way any more, so it is safe to settle.
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
				if d.Extend(ctx) != nil {
					return // a lost lease can't be had back
				}
			}
		}
	})
	return func() {
		cancel()
		keeper.Wait()
	}
}
