package main

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Mandrill restarts hosts for whoever asks. Set the fields of the first group.
// Those of the second have defaults, given in the comments.
type Mandrill struct {
	queue   queue
	lease   time.Duration // of a message, as the broker has it
	save    workFunc
	restart workFunc

	slots int // messages in progress at a time: 8
}

// setDefaults gives fields that are zero their defaults.
func (m *Mandrill) setDefaults() {
	m.slots = cmp.Or(m.slots, 8)
}

// Run handles messages until the queue is at its end, and then returns nil. If
// the queue fails or ctx ends first, it returns the cause. When it returns,
// everything that it has started has ended. It may be called once.
func (m *Mandrill) Run(ctx context.Context) error {
	m.setDefaults()
	slots := semaphore.NewWeighted(int64(m.slots))
	err := m.pull(ctx, slots)
	// When we have all slots, all handlers have ended.
	slots.Acquire(context.WithoutCancel(ctx), int64(m.slots))
	return err
}

// pull starts a handler for each message. It takes a slot first, because the
// lease of a message is already running when we receive it. It returns nil when
// the queue is at its end.
func (m *Mandrill) pull(ctx context.Context, slots *semaphore.Weighted) error {
	for {
		if slots.Acquire(ctx, 1) != nil {
			return context.Cause(ctx)
		}
		d, err := m.receive(ctx)
		if err != nil {
			slots.Release(1)
			if errors.Is(err, errClosed) {
				return nil
			}
			return err
		}
		go func() {
			defer slots.Release(1) // Run waits for us: it takes all slots
			m.handle(ctx, d)
		}()
	}
}

// handle saves the message and restarts its host, side by side, and then acks.
// When it returns, its goroutines have ended. It does not look at errors yet:
// that is part 3.
func (m *Mandrill) handle(ctx context.Context, d *Delivery) {
	release := keepLease(ctx, d, m.lease*2/5, m.lease*9) // lease 2s: 800ms, 18s
	var work sync.WaitGroup
	work.Go(func() { m.save(ctx, d.Message) })
	work.Go(func() { m.restart(ctx, d.Message) })
	work.Wait()
	release()
	d.Ack(ctx)
}
