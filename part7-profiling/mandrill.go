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

	slots         int           // messages in progress at a time: 8
	drain         time.Duration // see stop: 5s
	grace         time.Duration // see stop: 1s
	timeout       time.Duration // of an attempt, which is one delivery: 10s
	maxFailures   int           // before a dead letter: 8
	maxDeliveries int           // before a dead letter, failed or not: 16
	pause         time.Duration // after the first failure, see backoff: 1s
	giveUp        time.Duration // how long the queue may fail, see receive: 60s
	seed          uint64        // for the random part of backoff
	failures      counter       // in memory
	deliveries    counter       // none: see countDelivery
	snapshot      snapshotFunc  // none: see watch

	inFlight inFlight
	numbers  numbers     // for the operator
	ready    atomic.Bool // the broker has answered the last poll
	stopping atomic.Bool
	forced   atomic.Bool // work was still in progress when it was cancelled
}

// setDefaults gives fields that are zero their defaults.
func (m *Mandrill) setDefaults() {
	m.slots = cmp.Or(m.slots, 8)
	m.drain = cmp.Or(m.drain, 5*time.Second)
	m.grace = cmp.Or(m.grace, time.Second)
	m.timeout = cmp.Or(m.timeout, 10*time.Second)
	m.maxFailures = cmp.Or(m.maxFailures, 8)
	m.maxDeliveries = cmp.Or(m.maxDeliveries, 16)
	m.pause = cmp.Or(m.pause, time.Second)
	m.giveUp = cmp.Or(m.giveUp, 60*time.Second)
	m.failures = cmp.Or(m.failures, counter(&memoryCounter{}))
}

// Run handles messages until the queue is at its end, until the queue has
// failed for too long, or until ctx ends. Then it stops in stages: see stop. It
// returns the queue's error, if any, joined with the one from stop. It
// may be called once.
func (m *Mandrill) Run(ctx context.Context) error {
	m.setDefaults()
	defer m.watch()()
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	slots := semaphore.NewWeighted(int64(m.slots))
	pulling, pulled := context.WithCancel(ctx)
	failed := errNoResult
	var puller sync.WaitGroup
	puller.Go(func() {
		defer pulled()
		failed = contain(func() error { return m.pull(ctx, work, slots) })
	})
	<-pulling.Done() // pull has returned, or ctx has ended
	stopped := m.stop(ctx, &failed, slots, cancel, &puller)
	return errors.Join(failed, stopped)
}

// pull starts a handler for each message. It takes the free slots first and
// asks for as many messages, because the lease of a message is already running
// when we receive it. It returns nil when the queue or ctx is at its end. The
// handlers work in a context of their own.
func (m *Mandrill) pull(
	ctx, work context.Context, slots *semaphore.Weighted,
) error {
	for {
		n, err := m.takeSlots(ctx, slots)
		if err != nil {
			return unlessStopped(ctx, err)
		}
		batch, err := m.receive(ctx, n)
		slots.Release(int64(n - len(batch)))
		if errors.Is(err, errClosed) {
			return nil
		} else if err != nil {
			return unlessStopped(ctx, err)
		}
		for _, d := range batch {
			m.inFlight.begin(d)
		}
		if ctx.Err() != nil { // they were on their way when we were stopped
			m.giveBack(work, batch, slots)
			return nil
		}
		for _, d := range batch {
			go labelled(work, d, func(work context.Context) {
				defer slots.Release(1) // stop waits for us: it takes all slots
				m.finish(work, d, m.handle)
			})
		}
	}
}

// handle works on a message and returns what is to become of it, and why. When
// it returns, its goroutines have ended.
func (m *Mandrill) handle(
	ctx context.Context, d *Delivery,
) (do outcome, why error) {
	if d.invalid != nil {
		return toDeadLetter, d.invalid
	}
	if m.countDelivery(ctx, d) > m.maxDeliveries {
		return toDeadLetter, errTooOften
	}
	saved, restarted := m.saveAndRestart(ctx, d)
	return judge(d.held(), saved, restarted)
}
