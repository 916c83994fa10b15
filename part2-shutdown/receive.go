package main

import (
	"context"
	"errors"
	"time"
)

// receive blocks until there is a message, until the queue is at its end or
// fails, or until ctx ends: then it returns the cause. The broker bounds the
// wait of each poll.
func (m *Mandrill) receive(ctx context.Context) (*Delivery, error) {
	wait := min(time.Second, m.lease/5)
	for ctx.Err() == nil {
		d, err := m.poll(ctx, wait)
		if !errors.Is(err, errNothing) {
			return d, err
		}
	}
	return nil, context.Cause(ctx)
}

// poll asks the queue for a message, once. It is not cancelled when ctx ends,
// because a message that the broker has handed out by then would be lost to
// every consumer until its lease ends. Its time-out is for a broker that does
// not answer.
func (m *Mandrill) poll(
	ctx context.Context, wait time.Duration,
) (*Delivery, error) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx),
		wait+min(m.lease, answerTime), errNoAnswer)
	defer cancel()
	return m.queue.Receive(ctx, wait)
}

// answerTime is how long the broker may take to answer a poll, on top of the
// wait. A shorter lease bounds it further.
const answerTime = 5 * time.Second
