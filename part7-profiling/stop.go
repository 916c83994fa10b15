package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// errDrainDeadline is the cause when work is cancelled.
var errDrainDeadline = errors.New("drain deadline passed")

// A forcedError says that the drain deadline had passed and work was cancelled.
// Every message is accounted for.
type forcedError struct{}

// Error implements error.
func (forcedError) Error() string { return errDrainDeadline.Error() }

// ExitStatus returns the status in the README's table.
func (forcedError) ExitStatus() int { return 3 }

// An abandonedError names the messages that we have lost track of: their
// handlers ignored the cancellation, or the broker may not have received the
// outcome.
type abandonedError struct{ ids []string }

// Error implements error.
func (e *abandonedError) Error() string {
	return "abandoned " + strings.Join(e.ids, ", ")
}

// stop ends the work in flight in two stages. First it waits for the handlers,
// for drain at most. Then it cancels those that are left, with a cause, and
// waits for grace at most, so that they can give their messages back. A poll in
// progress holds a slot like a handler, but it is not cancelled: if the broker
// takes longer than both stages, stop waits for the puller as well. What is in
// flight after that is abandoned, and stop returns an error that names the
// messages. If stop returns anything else, every message is accounted for.
//
// failed is what pull has returned, if ctx has not ended.
func (m *Mandrill) stop(
	ctx context.Context, failed *error, slots *semaphore.Weighted,
	cancel context.CancelCauseFunc, puller *sync.WaitGroup,
) error {
	m.stopping.Store(true)
	if ctx.Err() != nil {
		m.log.Info("stopping", "cause", context.Cause(ctx))
	} else if *failed != nil {
		m.log.Error("stopping", "cause", *failed)
	}
	idle := func(within time.Duration) bool { // every slot is free
		ctx, done := context.WithTimeout(context.Background(), within)
		defer done()
		return slots.Acquire(ctx, int64(m.slots)) == nil
	}
	if !idle(m.drain) {
		m.log.Warn("cancelling", "in_flight", m.inFlight.count())
		cancel(errDrainDeadline)
		idle(m.grace)
	}
	puller.Wait()
	left := m.inFlight.ids()
	switch {
	case len(left) > 0:
		m.log.Error("abandoning", "ids", left)
		return &abandonedError{left}
	case m.forced.Load():
		return forcedError{}
	}
	m.log.Info("drained")
	return nil
}

// giveBack gives back what has come when we are stopped, and frees the slots.
// It blocks until that is done. There is one try for each message, and all of
// them at the same time, because stop waits for that.
func (m *Mandrill) giveBack(
	ctx context.Context, batch []*Delivery, slots *semaphore.Weighted,
) {
	var all sync.WaitGroup
	for _, d := range batch {
		all.Go(func() {
			defer slots.Release(1)
			d.until = time.Now()
			m.finish(ctx, d, func(context.Context, *Delivery) (outcome, error) {
				return toGiveBack, nil
			})
		})
	}
	all.Wait()
}
