package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Mandrill restarts hosts for whoever asks. Set the fields of the first group.
// Those of the second have defaults, given in the comments.
type Mandrill struct {
	log     *slog.Logger
	queue   queue
	lease   time.Duration // of a message, as the broker has it
	save    workFunc
	restart workFunc

	slots int           // messages in progress at a time: 8
	drain time.Duration // see stop: 5s
	grace time.Duration // see stop: 1s

	inFlight inFlight
	forced   atomic.Bool // work was still in progress when it was cancelled
}

// setDefaults gives fields that are zero their defaults.
func (m *Mandrill) setDefaults() {
	m.slots = cmp.Or(m.slots, 8)
	m.drain = cmp.Or(m.drain, 5*time.Second)
	m.grace = cmp.Or(m.grace, time.Second)
}

// Run handles messages until the queue is at its end or fails, or until ctx
// ends. Then it stops in stages: see stop. It returns the queue's error, if
// any, joined with the one from stop. It may be called once.
func (m *Mandrill) Run(ctx context.Context) error {
	m.setDefaults()
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	slots := semaphore.NewWeighted(int64(m.slots))
	pulling, pulled := context.WithCancel(ctx)
	var failed error
	var puller sync.WaitGroup
	puller.Go(func() {
		defer pulled()
		failed = m.pull(ctx, work, slots)
	})
	<-pulling.Done() // pull has returned, or ctx has ended
	stopped := m.stop(ctx, &failed, slots, cancel, &puller)
	return errors.Join(failed, stopped)
}

// pull starts a handler for each message. It takes a slot first, because the
// lease of a message is already running when we receive it. It returns nil when
// the queue or ctx is at its end. The handlers work in a context of their own.
func (m *Mandrill) pull(
	ctx, work context.Context, slots *semaphore.Weighted,
) error {
	for {
		if slots.Acquire(ctx, 1) != nil {
			return nil
		}
		d, err := m.receive(ctx)
		if err != nil {
			slots.Release(1)
			if errors.Is(err, errClosed) {
				return nil
			}
			return unlessStopped(ctx, err)
		}
		m.inFlight.begin(d)
		if ctx.Err() != nil { // it was on its way when we were stopped
			defer slots.Release(1)
			m.inFlight.end(d, m.settle(work, d, toGiveBack), m.lease)
			return nil
		}
		go func() {
			defer slots.Release(1) // stop waits for us: it takes all slots
			err := m.settle(work, d, m.handle(work, d))
			m.inFlight.end(d, err, m.lease)
		}()
	}
}

// handle saves the message and restarts its host, side by side, and says what
// becomes of it. When it returns, its goroutines have ended. It looks only at
// errors of work that was cancelled: the others are for part 3.
func (m *Mandrill) handle(ctx context.Context, d *Delivery) outcome {
	release := keepLease(ctx, d, m.lease*2/5, m.lease*9) // lease 2s: 800ms, 18s
	var saved, restarted error
	var work sync.WaitGroup
	work.Go(func() { saved = m.save(ctx, d.Message) })
	work.Go(func() { restarted = m.restart(ctx, d.Message) })
	work.Wait()
	release()
	if ctx.Err() != nil {
		m.forced.Store(true)
		if saved != nil || restarted != nil {
			return toGiveBack
		}
	}
	return toAck
}
