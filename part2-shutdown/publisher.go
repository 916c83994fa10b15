package main

import (
	"context"
	"errors"
	"time"
)

// publish publishes n messages, or goes on without end if n is 0. After each
// message it sleeps for up to pause. It is the only publisher, so it closes the
// queue when it returns. If ctx ends first, that is not a failure: it returns
// nil.
func publish(
	ctx context.Context, q queue, seed uint64, n int, pause time.Duration,
) error {
	defer q.Close()
	for i := 1; n == 0 || i <= n; i++ {
		msg := newMessage(seed, i)
		if err := q.Publish(ctx, msg); err != nil {
			return unlessStopped(ctx, err)
		}
		share := random(seed, msg.ID, "pause").Float64()
		err := sleep(ctx, time.Duration(share*float64(pause)))
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
