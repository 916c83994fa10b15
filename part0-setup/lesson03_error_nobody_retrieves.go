// Lesson 0.3: the error nobody retrieves.
//
// A consumer fails at its fourth message and says so, as a good function does:
// it returns an error. But who is there to take it?

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

var lesson03 = lesson{
	number: 3, core: true, title: "the error nobody retrieves",
	mistakes: runs(failAtFour, goBoth),
	fix:      runs(failAtFour, groupBoth),
}

// goBoth is the mistake. A go statement has no place for a result: the error is
// gone, and neither the compiler nor vet says a word.
func goBoth(
	ctx context.Context, publish, consume func(context.Context) error,
) error {
	go publish(ctx)
	go consume(ctx)
	<-ctx.Done() // a service runs until it is told to stop
	return nil
}

// groupBoth is the fix. The group waits for both, keeps the first error, and
// cancels the context of the others in the same instant.
func groupBoth(
	ctx context.Context, publish, consume func(context.Context) error,
) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return publish(ctx) })
	g.Go(func() error { return consume(ctx) })
	return g.Wait()
}

type serveFunc func(
	ctx context.Context, publish, consume func(context.Context) error) error

var (
	errNoSuchHost = errors.New("no such host")
	errSeenEnough = errors.New("seen enough")
)

// failAtFour lets a service run for five seconds. To handle a message takes
// 100ms; the fourth has a host that does not exist, which takes 50ms to find.
func failAtFour(ctx context.Context, s *scene, serve serveFunc) verdict {
	return failAtFourIn(ctx, s, serve, 5*time.Second)
}

func failAtFourIn(
	ctx context.Context, s *scene, serve serveFunc, watch time.Duration,
) verdict {
	ctx, stop := context.WithTimeoutCause(ctx, watch, errSeenEnough)
	defer stop()
	queue := make(chan Message, 2) // closed by publish
	consume := s.work("consumed", time.Second/10)
	err := serve(ctx,
		func(ctx context.Context) error {
			return publish(ctx, s.log, queue, s.seed, 0, 0)
		},
		func(ctx context.Context) error {
			for msg := range queue {
				if msg.ID == "m4" {
					time.Sleep(50 * time.Millisecond)
					return errNoSuchHost
				}
				consume(ctx, msg)
			}
			return nil
		},
	)
	return verdict{
		text: fmt.Sprintf("%d consumed, returned after %v: %v",
			s.count("consumed"), s.elapsed(), err),
		failed: err == nil,
	}
}
