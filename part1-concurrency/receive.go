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
		d, err := m.queue.Receive(ctx, wait)
		if !errors.Is(err, errNothing) {
			return d, err
		}
	}
	return nil, context.Cause(ctx)
}
