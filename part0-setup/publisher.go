package main

import (
	"context"
	"log/slog"
	"time"
)

// publish publishes n messages, or goes on without end if n is 0. After each
// message it sleeps for up to pause. It blocks while the queue is full. It is
// the only publisher, so it closes the queue when it returns. If ctx ends
// first, it returns the cause.
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
