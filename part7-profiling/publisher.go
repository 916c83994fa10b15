package main

import (
	"context"
	"errors"
	"time"
)

// publish publishes messages m1 to mn, or goes on without end if n is 0. After
// each message it sleeps for up to pause. It is the only publisher of this
// process, so it closes the queue when it returns. If ctx ends first, that is
// not a failure: it returns nil.
func publish(
	ctx context.Context, q queue, seed uint64, n int, pause time.Duration,
) error {
	i := 0
	return publishNumbered(ctx, q, func(context.Context) (int, error) {
		i++
		return i, nil
	}, seed, n, pause)
}

// publishNumbered does the same, but asks next for the number of each message.
// Numbers that begin at 1 in each process would give two messages one ID, and
// the broker would drop the second.
func publishNumbered(
	ctx context.Context, q queue, next func(context.Context) (int, error),
	seed uint64, n int, pause time.Duration,
) error {
	defer q.Close()
	for i := 0; n == 0 || i < n; i++ {
		number, err := next(ctx)
		if err != nil {
			return unlessStopped(ctx, err)
		}
		msg := newMessage(seed, number)
		if err := q.Publish(ctx, msg); err != nil {
			return unlessStopped(ctx, err)
		}
		share := random(seed, msg.ID, "pause").Float64()
		err = sleep(ctx, time.Duration(share*float64(pause)))
		if err != nil {
			return unlessStopped(ctx, err)
		}
	}
	return nil
}

// unlessStopped returns err, or nil if err says only that ctx has ended. If
// err is several errors joined, one of them may say more, so it is returned as
// it is.
func unlessStopped(ctx context.Context, err error) error {
	var joined interface{ Unwrap() []error }
	if ctx.Err() == nil || errors.As(err, &joined) {
		return err
	}
	if errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}
