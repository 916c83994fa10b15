// Lesson 4.2: the pool that starves.
//
// A limit on goroutines assumes that each of them ends, and makes room for the
// next. A job that runs until the service stops never makes room.

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// limitAll is the mistake. It runs the whole service in one group with a limit
// of five, and the five publishers use it up. When the group is full, g.Go
// doesn't fail. It blocks, so the consumer doesn't start.
func limitAll(
	ctx context.Context, publishers []jobFunc, queue <-chan Message,
	restart workFunc,
) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(5)
	for _, publish := range publishers {
		g.Go(func() error { return publish(ctx) })
	}
	g.Go(func() error {
		return forEach(ctx, queue, func(msg Message) {
			g.Go(func() error { return restart(ctx, msg) })
		})
	})
	return g.Wait()
}

// limitRestarts is the fix. The publishers and the consumer need no limit,
// because we know how many there are. The restarts have a limit of their own.
func limitRestarts(
	ctx context.Context, publishers []jobFunc, queue <-chan Message,
	restart workFunc,
) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, publish := range publishers {
		g.Go(func() error { return publish(ctx) })
	}
	g.Go(func() error {
		var restarts errgroup.Group
		restarts.SetLimit(3)
		stopped := forEach(ctx, queue, func(msg Message) {
			restarts.Go(func() error { return restart(ctx, msg) })
		})
		return errors.Join(stopped, restarts.Wait())
	})
	return g.Wait()
}

// A jobFunc does a job that runs until the service stops.
type jobFunc func(ctx context.Context) error

// forEach calls f for each message, until ctx ends. It returns the cause.
func forEach(
	ctx context.Context, queue <-chan Message, f func(msg Message),
) error {
	for ctx.Err() == nil {
		select {
		case msg := <-queue:
			f(msg)
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// errStopped is the cause when a scene or a test stops the service.
var errStopped = errors.New("terminated signal received")

// fivePublishers has five publishers, and each of them publishes a message
// every 200ms. A restart takes 40ms. The service is stopped after 6.15s.
func fivePublishers(
	ctx context.Context, s *scene,
	run func(context.Context, []jobFunc, <-chan Message, workFunc) error,
) verdict {
	ctx, stop := context.WithCancelCause(ctx)
	s.log.Info("five publishers, one consumer", "each_publishes_every", "200ms")
	queue := make(chan Message, 1000)
	var published atomic.Int64
	var publishers []jobFunc
	for range 5 {
		publishers = append(publishers, func(ctx context.Context) error {
			for sleep(ctx, 200*time.Millisecond) == nil {
				queue <- newMessage(s.seed, int(published.Add(1)))
			}
			return context.Cause(ctx)
		})
	}
	var restarted atomic.Int64
	restart := func(ctx context.Context, _ Message) error {
		s.began(1)
		defer s.began(-1)
		if err := sleep(ctx, 40*time.Millisecond); err != nil {
			return err
		}
		restarted.Add(1)
		return nil
	}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, publishers, queue, restart) }()
	for _, d := range []time.Duration{2150, 2000, 2000} {
		sleep(ctx, d*time.Millisecond)
		s.log.Info("counted", "published", published.Load(),
			"restarted", restarted.Load(), "backlog", len(queue))
	}
	stop(errStopped)
	s.log.Info("stopped", "err", <-ended)
	return verdict{
		text: fmt.Sprintf("published %d, restarted %d, %d at a time",
			published.Load(), restarted.Load(), s.peak),
		failed: restarted.Load() == 0,
	}
}

var lesson02 = lesson{
	number: 2, title: "the pool that starves",
	watch:    "how many hosts are restarted, and whether anything says why",
	mistakes: runs(fivePublishers, limitAll),
	fix:      runs(fivePublishers, limitRestarts),
}
