package main

import (
	"context"
	"errors"
	"log/slog"
	"runtime/pprof"
	"sync"
	"time"
)

// A keeper extends the lease of one delivery. It has no goroutine: a timer
// calls it when there is something to do. Work that ends before the first
// extension is due only sets that timer and stops it.
type keeper struct {
	log    *slog.Logger
	d      *Delivery
	lease  time.Duration
	ctx    context.Context // ends with the lease
	cancel context.CancelCauseFunc

	mu     sync.Mutex    // never held while waiting
	due    time.Time     // the next extension
	timer  *time.Timer   // calls wake then, or at the end of the lease
	answer chan struct{} // closed with the answer to an extension; nil if none
	left   bool          // release has returned, and d is its caller's again
}

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
	k := &keeper{log: log, d: d, lease: lease}
	k.ctx, k.cancel = context.WithCancelCause(ctx)
	k.due = d.until.Add(k.period() - lease) // the lease began a while ago
	k.mu.Lock()
	defer k.mu.Unlock() // wake waits until there is a timer
	k.timer = time.AfterFunc(k.pause(), k.wake)
	return k.ctx, k.release
}

// period is the time from one extension to the next.
func (k *keeper) period() time.Duration { return k.lease / 5 * 2 }

// pause is the time until there is something to do.
func (k *keeper) pause() time.Duration {
	if k.d.until.Before(k.due) {
		return time.Until(k.d.until)
	}
	return time.Until(k.due)
}

// wake does what there is to do, in a goroutine that has the labels of the
// delivery. If that panics, the lease is lost.
func (k *keeper) wake() {
	pprof.SetGoroutineLabels(k.ctx)
	if err := contain(k.extendOrLose); err != nil {
		k.mu.Lock()
		k.lose()
		k.mu.Unlock()
		logPanic(k.log, err, "id", k.d.ID, "attempt", k.d.Attempt)
	}
}

// extendOrLose extends the lease if that is due, unless the last extension is
// still in progress. If the lease has run out, it ends the context. It returns
// nil.
func (k *keeper) extendOrLose() error {
	k.mu.Lock()
	switch now := time.Now(); {
	case k.ctx.Err() != nil:
		k.mu.Unlock()
		return nil
	case !k.d.held():
		k.lose()
		k.mu.Unlock()
		k.log.Warn("lease lost", "id", k.d.ID, "attempt", k.d.Attempt)
		return nil
	case now.Before(k.due): // the lease has just been extended
		k.timer.Reset(k.pause())
		k.mu.Unlock()
		return nil
	}
	k.due = k.due.Add(k.period())
	k.timer.Reset(k.pause())
	if k.answer != nil {
		k.mu.Unlock()
		return nil
	}
	answer := make(chan struct{})
	k.answer = answer
	k.mu.Unlock()
	k.extend(answer)
	return nil
}

// extend extends the lease once, and closes answer.
func (k *keeper) extend(answer chan struct{}) {
	sent := time.Now()
	// The time-out leaves time for another try.
	ctx, cancel := context.WithTimeoutCause(k.ctx, k.lease/4, errNoAnswer)
	defer cancel()
	err := contain(func() error { return k.d.Extend(ctx) })
	lost := errors.Is(err, errLeaseLost) || errors.Is(err, errSettled)

	k.mu.Lock()
	k.answer = nil
	if err == nil && !k.left && k.d.held() {
		k.d.until = sent.Add(k.lease)
	}
	lost = lost && k.lose()
	close(answer)
	k.mu.Unlock()
	logPanic(k.log, err, "id", k.d.ID, "attempt", k.d.Attempt)
	switch {
	case lost:
		k.log.Warn("lease lost", "id", k.d.ID, "attempt", k.d.Attempt,
			"err", oneLine(err))
	case err != nil && k.ctx.Err() == nil: // we did not cancel it
		k.log.Warn("not extended", "id", k.d.ID, "attempt", k.d.Attempt,
			"err", oneLine(err))
	}
}

// lose ends the lease, and the context with it. It reports whether the delivery
// was still the keeper's. The caller holds the lock.
func (k *keeper) lose() bool {
	if k.left {
		return false
	}
	k.d.until = time.Now()
	k.timer.Stop()
	k.cancel(errLeaseLost)
	return true
}

// release stops the keeper: see keepLease.
func (k *keeper) release() {
	k.cancel(nil)
	k.mu.Lock()
	k.timer.Stop()
	answer, left := k.answer, time.Until(k.d.until)
	k.mu.Unlock()
	if answer != nil {
		over := time.NewTimer(left)
		defer over.Stop()
		select {
		case <-answer:
		case <-over.C:
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left = true
}

// held reports whether we still have the lease, by our own clock.
func (d *Delivery) held() bool { return time.Now().Before(d.until) }
