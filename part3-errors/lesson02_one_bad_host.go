// Lesson 3.2: one bad host stops the service.
//
// Four hosts are to be restarted, and two of them can't be. That should not
// matter to the others.

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// onTheServicesGroup is the mistake. A group is right for the parts of a
// service, which need each other. Messages don't, but in a group the first that
// fails cancels the others.
func onTheServicesGroup(
	ctx context.Context, messages []Message, restart workFunc,
) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, msg := range messages {
		g.Go(func() error { return restart(ctx, msg) })
	}
	return g.Wait()
}

// errorsAreData is the fix. What became of a message is a result like any
// other. Each goroutine has a place of its own for it, so the errors are in the
// order of the messages, and none is lost.
func errorsAreData(
	ctx context.Context, messages []Message, restart workFunc,
) error {
	errs := make([]error, len(messages))
	var restarts sync.WaitGroup
	for i, msg := range messages {
		restarts.Go(func() {
			if err := restart(ctx, msg); err != nil {
				errs[i] = fmt.Errorf("%s: %w", msg.ID, err)
			}
		})
	}
	restarts.Wait()
	return errors.Join(errs...)
}

// A restartFunc restarts the hosts of all messages and returns what failed.
type restartFunc func(
	ctx context.Context, messages []Message, restart workFunc) error

// fourHosts restarts m1 and m3 in two seconds. m2 is refused after one, and m4
// turns out not to exist after one and a half.
func fourHosts(
	ctx context.Context, s *scene, restartAll restartFunc,
) verdict {
	var messages []Message
	for i := range 4 {
		messages = append(messages, newMessage(s.seed, i+1))
	}
	err := restartAll(ctx, messages, func(
		ctx context.Context, msg Message,
	) error {
		takes, fails := 2*time.Second, error(nil)
		switch msg.ID {
		case "m2":
			takes, fails = time.Second, errRefused
		case "m4":
			takes, fails = 1500*time.Millisecond, errNoSuchHost
		}
		if err := sleep(ctx, takes); err != nil {
			s.log.Info("cut short", "id", msg.ID, "cause", err)
			return err
		}
		if fails != nil {
			s.log.Info("failed", "id", msg.ID, "err", fails)
			return fails
		}
		s.did("restarted", msg, takes)
		return nil
	})
	kept := 0
	for _, want := range []error{errRefused, errNoSuchHost} {
		if errors.Is(err, want) {
			kept++
		}
	}
	return verdict{
		text: fmt.Sprintf("%d of 2 restarted, %d of 2 errors kept",
			s.count("restarted"), kept),
		failed: s.count("restarted") < 2 || kept < 2,
	}
}

var lesson02 = lesson{
	number: 2, core: true, title: "one bad host stops the service",
	watch:    "m1 and m3: nothing is wrong with them",
	mistakes: runs(fourHosts, onTheServicesGroup),
	fix:      runs(fourHosts, errorsAreData),
}
