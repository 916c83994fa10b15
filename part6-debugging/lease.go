package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// keepLease extends the lease of a delivery until release is called, or until
// ctx ends: after that the lease lasts for as long as it has been extended. The
// context that it returns ends with the lease, and its cause is errLeaseLost
// then.
//
// Only our own clock, d.until, tells us whether we still have the lease. It is
// a pessimistic one: a lease counts from the moment before we asked for it, and
// an extension from the moment before we sent it, if it was confirmed.
//
// The caller must call release, and may read d.until and settle after that.
// release cancels an extension in progress and waits for it to return, but not
// longer than the lease: then the extension is left behind.
func keepLease(
	ctx context.Context, log *slog.Logger, d *Delivery, lease time.Duration,
) (leased context.Context, release func()) {
	leased, cancel := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() {
		err := contain(func() error {
			return extendAgain(leased, log, d, lease)
		})
		if err != nil {
			d.until = time.Now()
			cancel(errLeaseLost)
			logPanic(log, err, "id", d.ID, "attempt", d.Attempt)
		}
	})
	return leased, func() {
		cancel(nil)
		keeper.Wait()
	}
}

// extendAgain extends a lease again and again, until ctx ends, and returns nil,
// or until the lease is lost, and returns errLeaseLost.
func extendAgain(
	ctx context.Context, log *slog.Logger, d *Delivery, lease time.Duration,
) error {
	tick := time.NewTicker(lease / 5 * 2)
	defer tick.Stop()
	over := time.NewTimer(time.Until(d.until))
	defer over.Stop()
	var sent time.Time    // when the extension under way was sent
	var answer chan error // to it; nil if none is under way
	ended := ctx.Done()   // nil once we have seen it
	for ended != nil || answer != nil {
		select {
		case <-ended:
			ended = nil // wait only for the answer
		case <-over.C:
			log.Warn("lease lost", "id", d.ID, "attempt", d.Attempt)
			return errLeaseLost
		case <-tick.C:
			if answer == nil {
				sent, answer = time.Now(), make(chan error, 1)
				go extend(ctx, d, lease/4, answer)
			}
		case err := <-answer:
			answer = nil
			switch {
			case err == nil:
				d.until = sent.Add(lease)
				over.Reset(time.Until(d.until))
			case errors.Is(err, errLeaseLost), errors.Is(err, errSettled):
				log.Warn("lease lost", "id", d.ID, "attempt", d.Attempt,
					"err", oneLine(err))
				return errLeaseLost
			case ended != nil: // we did not cancel it
				logPanic(log, err, "id", d.ID, "attempt", d.Attempt)
				log.Warn("not extended", "id", d.ID, "attempt", d.Attempt,
					"err", oneLine(err))
			}
		}
	}
	return nil
}

// extend extends a lease once. It has a goroutine of its own, because the
// keeper must notice the end of the lease even if the broker never answers. Its
// time-out leaves time for another try.
func extend(
	ctx context.Context, d *Delivery, timeout time.Duration,
	answer chan<- error,
) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errNoAnswer)
	defer cancel()
	answer <- contain(func() error { return d.Extend(ctx) })
}

// held reports whether we still have the lease, by our own clock.
func (d *Delivery) held() bool { return time.Now().Before(d.until) }
