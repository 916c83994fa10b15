package main

import (
	"context"
	"time"
)

// publish publishes n messages, or goes on without end if n is 0. After each
// message it sleeps for up to pause. It is the only publisher, so it closes the
// queue when it returns. If ctx ends first, it returns the cause.
func publish(
	ctx context.Context, q queue, seed uint64, n int, pause time.Duration,
) error {
	defer q.Close()
	for i := 1; n == 0 || i <= n; i++ {
		msg := newMessage(seed, i)
		if err := q.Publish(ctx, msg); err != nil {
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
