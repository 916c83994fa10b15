package main

import (
	"context"
	"log/slog"
	"time"
)

// simulate returns work that only takes time, because a mock chaos monkey has
// no hosts. It takes longest at most, depending on the seed and the message.
func simulate(
	log *slog.Logger, seed uint64, what string, longest time.Duration,
) workFunc {
	return func(ctx context.Context, msg Message) error {
		share := random(seed, msg.ID, what).Float64()
		takes := time.Duration(share * float64(longest))
		if err := sleep(ctx, takes); err != nil {
			return err
		}
		log.Info(what, "id", msg.ID, "host", msg.Instance,
			"took", takes.Round(time.Millisecond))
		return nil
	}
}
