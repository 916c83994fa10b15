package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Mandrill restarts hosts for whoever asks.
type Mandrill struct {
	broker  *broker
	save    workFunc
	restart workFunc
	slots   int // messages it works on at a time
}

// Run handles messages until the broker has no more, and returns nil, or until
// ctx ends, and returns its cause. It returns when everything that it has
// started has ended.
func (m *Mandrill) Run(ctx context.Context) error {
	slots := make(chan struct{}, m.slots) // a value for each handler at work
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for {
		// The slot comes before the message, whose lease runs from then on. It
		// proceeds when a handler ends, for which we would have to wait anyway.
		slots <- struct{}{}
		d, err := m.broker.Receive(ctx)
		if errors.Is(err, errClosed) {
			return nil
		} else if err != nil {
			return err
		}
		handlers.Go(func() {
			defer func() { <-slots }()
			m.handle(ctx, d)
		})
	}
}

// handle saves the message and restarts its host, side by side, and then
// acknowledges. When it returns, none of its goroutines is left. What it does
// not do yet is look at errors: that is part 3.
func (m *Mandrill) handle(ctx context.Context, d *Delivery) {
	lease := m.broker.lease
	release := keepLease(ctx, d, lease*2/5, lease*9) // 800ms and 18s of 2s
	var work sync.WaitGroup
	work.Go(func() { m.save(ctx, d.Message) })
	work.Go(func() { m.restart(ctx, d.Message) })
	work.Wait()
	release()
	d.Ack(ctx)
}

// simulate returns work that takes up to that long: a mock chaos monkey has no
// hosts. The seed and the message decide how long.
func simulate(
	log *slog.Logger, seed uint64, what string, longest time.Duration,
) workFunc {
	return func(ctx context.Context, msg Message) error {
		share := random(seed, msg.ID, what).Float64()
		err := sleep(ctx, time.Duration(share*float64(longest)))
		if err != nil {
			return err
		}
		log.Info(what, "id", msg.ID, "host", msg.Instance)
		return nil
	}
}

// publish publishes n messages, or goes on without end if n is 0, with a pause
// of up to that long after each. It closes the broker in the end, for nobody
// else publishes. It returns the cause if ctx ends before.
func publish(
	ctx context.Context, b *broker, seed uint64, n int, pause time.Duration,
) error {
	defer b.Close()
	for i := 1; n == 0 || i <= n; i++ {
		msg := newMessage(seed, i)
		if err := b.Publish(ctx, msg); err != nil {
			return err
		}
		share := random(seed, msg.ID, "pause").Float64()
		err := sleep(ctx, time.Duration(share*float64(pause)))
		if err != nil {
			return err
		}
	}
	return nil
}
