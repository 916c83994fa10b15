package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// saveAndRestart does both side by side, under the lease and the time-out.
func (m *Mandrill) saveAndRestart(
	ctx context.Context, d *Delivery,
) (saved, restarted error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.timeout, errTimedOut)
	defer cancel()
	ctx, release := keepLease(ctx, m.log, d, m.lease)
	defer release()
	saved, restarted = errNoResult, errNoResult
	var work sync.WaitGroup
	work.Go(func() { saved = m.try(ctx, d, m.save) })
	work.Go(func() { restarted = m.try(ctx, d, m.restart) })
	work.Wait()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errDrainDeadline):
		m.forced.Store(true)
	case errors.Is(cause, errLeaseLost):
		m.numbers.leasesLost.Add(1)
	}
	return saved, restarted
}

// try does the work once, and contains its panics. If our context has ended,
// any error counts as a consequence of that, because a library may report a
// cancellation in words of its own. A permanent error and a panic
// stay what they are.
func (m *Mandrill) try(
	ctx context.Context, d *Delivery, work workFunc,
) error {
	err := contain(func() error { return work(ctx, d.Message) })
	if err == nil {
		return nil // and spare us the attributes
	}
	panicked := logPanic(m.log, err, "id", d.ID, "attempt", d.Attempt)
	if panicked || isPermanent(err) || ctx.Err() == nil ||
		errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}
