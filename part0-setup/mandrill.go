package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Mandrill restarts hosts for whoever asks.
type Mandrill struct {
	log     *slog.Logger
	queue   <-chan Message
	restart workFunc
	handled int // messages: read it when Run has returned
}

// Run handles messages, one at a time, until the queue is closed, and returns
// nil, or until one of them fails, and returns why. While it waits for a
// message it does not look at ctx: when ctx ends, the publisher closes the
// queue.
func (m *Mandrill) Run(ctx context.Context) error {
	for msg := range m.queue {
		if err := m.handle(ctx, msg); err != nil {
			return fmt.Errorf("%s: %w", msg.ID, err)
		}
		m.handled++
	}
	return nil
}

// handle restarts the host of a message. It blocks until that is done.
func (m *Mandrill) handle(ctx context.Context, msg Message) error {
	m.log.Info("consumed", "id", msg.ID)
	return m.restart(ctx, msg)
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
// of up to that long after each. It blocks while the queue is full. It closes
// the queue in the end, for nobody else publishes. It returns the cause if ctx
// ends before.
func publish(
	ctx context.Context, log *slog.Logger, queue chan<- Message,
	seed uint64, n int, pause time.Duration,
) error {
	defer close(queue)
	for i := 1; n == 0 || i <= n; i++ {
		msg := newMessage(seed, i)
		select {
		case queue <- msg:
			log.Info("published", "id", msg.ID)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		share := random(seed, msg.ID, "pause").Float64()
		err := sleep(ctx, time.Duration(share*float64(pause)))
		if err != nil {
			return err
		}
	}
	return nil
}
