// Lesson 3.1: the zombie.
//
// The consumer has died, and the service says that it is ready. So it gets more
// and more messages, and nobody does anything with them.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

var lesson01 = lesson{
	number: 1, title: "the zombie",
	mistakes: runs(dieAtThree, readyIsReady),
	fix:      runs(dieAtThree, readyWhileConsuming),
}

// readyIsReady is the mistake. The process runs, so it is ready; the consumer's
// error goes nowhere.
func readyIsReady(
	ctx context.Context, consume func(context.Context) error,
) (ready func() bool, wait func() error) {
	go consume(ctx)
	ready = func() bool { return true }
	wait = func() error {
		<-ctx.Done()
		return nil
	}
	return ready, wait
}

// readyWhileConsuming is the fix. Ready is who consumes. And the error comes
// back, in the instant in which the consumer dies.
func readyWhileConsuming(
	ctx context.Context, consume func(context.Context) error,
) (ready func() bool, wait func() error) {
	var consuming atomic.Bool
	consuming.Store(true)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer consuming.Store(false)
		return consume(ctx)
	})
	return consuming.Load, g.Wait
}

type serveFunc func(
	ctx context.Context, consume func(context.Context) error,
) (ready func() bool, wait func() error)

var errDatabaseGone = errors.New("database gone")

// dieAtThree watches a service for five seconds. It gets a message every 300ms,
// and its consumer dies of the third.
func dieAtThree(ctx context.Context, s *scene, serve serveFunc) verdict {
	return dieAtThreeIn(ctx, s, serve, 5*time.Second)
}

func dieAtThreeIn(
	ctx context.Context, s *scene, serve serveFunc, watch time.Duration,
) verdict {
	ctx, cancel := context.WithTimeout(ctx, watch)
	defer cancel()
	s.broker = newBroker(slog.New(slog.DiscardHandler), time.Minute, 1_000_000)
	go func() { // until ctx ends; the broker is somebody else's
		for i := 1; sleep(ctx, 300*time.Millisecond) == nil; i++ {
			s.broker.Publish(ctx, newMessage(s.seed, i))
		}
	}()
	ready, wait := serve(ctx, func(ctx context.Context) error {
		for {
			d, err := s.broker.Receive(ctx, forever)
			if err != nil {
				return err
			}
			if d.ID == "m3" {
				return fmt.Errorf("%s: %w", d.ID, errDatabaseGone)
			}
			d.Ack(ctx)
			s.log.Info("consumed", "id", d.ID)
		}
	})
	err := wait()
	return verdict{
		text: fmt.Sprintf("ready %t, backlog %d, returned after %v: %v",
			ready(), s.broker.holds(), s.elapsed(), err),
		failed: ready(),
	}
}
