// Lesson 0.3: the error nobody retrieves.
//
// A consumer fails at its fourth message and returns an error, as a good
// function does. But where does it go?

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// goBoth is the mistake. A go statement has no place for a result, so the error
// is gone. The compiler and vet don't notice; errcheck does.
func goBoth(
	ctx context.Context, publish, consume func(context.Context) error,
) error {
	go publish(ctx)
	go consume(ctx)
	<-ctx.Done() // a service runs until it is told to stop
	return nil
}

// The fix is runBoth, in main.go: the service runs its two parts with it.

// A runFunc runs a publisher and a consumer. It blocks until they have ended,
// or until ctx has.
type runFunc func(
	ctx context.Context, publish, consume func(context.Context) error) error

var (
	// errNoSuchHost is what the fourth message fails with.
	errNoSuchHost = errors.New("no such host")
	// errSeenEnough is the cause when the scene ends.
	errSeenEnough = errors.New("seen enough")
)

// failAtFour watches a service for five seconds. Each message takes 100ms to
// consume; the fourth has a host that does not exist, which takes 50ms to find.
func failAtFour(ctx context.Context, s *scene, run runFunc) verdict {
	const watch = 5 * time.Second
	s.log.Info("watching", "for", watch)
	return failAtFourIn(ctx, s, run, watch)
}

// failAtFourIn watches it for as long as watch says.
func failAtFourIn(
	ctx context.Context, s *scene, run runFunc, watch time.Duration,
) verdict {
	ctx, stop := context.WithTimeoutCause(ctx, watch, errSeenEnough)
	defer stop()
	queue := make(chan Message, 2) // closed by publish
	consume := s.work("consumed", time.Second/10)
	err := run(ctx,
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
	text := fmt.Sprintf("%d consumed, ", s.count("consumed"))
	if err == nil {
		text += fmt.Sprintf("no error in %v", s.elapsed())
	} else {
		text += fmt.Sprintf("ended after %v: %v", s.elapsed(), err)
	}
	return verdict{text: text, failed: err == nil}
}

var lesson03 = lesson{
	number: 3, core: true, title: "the error nobody retrieves",
	watch:    "what becomes of the error of m4, which fails at 350ms",
	mistakes: runs(failAtFour, goBoth),
	fix:      runs(failAtFour, runBoth),
}
