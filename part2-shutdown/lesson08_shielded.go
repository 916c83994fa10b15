// Lesson 2.8: shielded, not waited for.
//
// An audit record must not be cut short by a shutdown, so it is written in a
// context that no signal ends, by a goroutine of its own.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// shieldOnly is the mistake. Nothing cancels the write, and nothing waits for
// it: it ends with main.
func shieldOnly(ctx context.Context, write workFunc, msg Message) error {
	go write(context.WithoutCancel(ctx), msg)
	<-ctx.Done()
	return nil
}

// shareTheCancel is the second mistake. It waits for the write, but it also
// has the write's cancel function, and calls it when told to stop.
func shareTheCancel(ctx context.Context, write workFunc, msg Message) error {
	shielded, cancel := context.WithCancel(context.WithoutCancel(ctx))
	written := make(chan error, 1)
	go func() { written <- write(shielded, msg) }()
	<-ctx.Done()
	cancel()
	if err := <-written; !errors.Is(err, context.Canceled) {
		return err
	}
	return nil // it was cancelled, as expected
}

// shieldAndWait is the fix. Nothing cancels the write, and it is waited for,
// but not for ever. A record that is not written in time is an error.
func shieldAndWait(ctx context.Context, write workFunc, msg Message) error {
	written := make(chan error, 1)
	go func() { written <- write(context.WithoutCancel(ctx), msg) }()
	<-ctx.Done()
	select {
	case err := <-written:
		return err
	case <-time.After(2 * time.Second):
		return errNotWritten
	}
}

// An auditFunc writes an audit record for a message, and returns when ctx ends.
type auditFunc func(ctx context.Context, write workFunc, msg Message) error

// errNotWritten is returned if the record is not written in time.
var errNotWritten = errors.New("audit record not written")

// stopInMidWrite is a whole program. It is stopped after 200ms, in the middle
// of a write that takes 600ms. It exits as main does.
func stopInMidWrite(
	ctx context.Context, s *scene, audit auditFunc,
) verdict {
	err := auditFor(ctx, s, audit, 600*time.Millisecond, nil)
	if err != nil {
		s.log.Error("failed", "err", err)
		os.Exit(1)
	}
	s.log.Info("successfully shut down")
	return verdict{}
}

// auditFor stops an audit after 200ms. The write takes that long, and returns
// fails.
func auditFor(
	ctx context.Context, s *scene, audit auditFunc,
	takes time.Duration, fails error,
) error {
	ctx, cancel := context.WithTimeoutCause(
		ctx, 200*time.Millisecond, errStopped)
	defer cancel()
	return audit(ctx, func(ctx context.Context, msg Message) error {
		if err := sleep(ctx, takes); err != nil {
			s.log.Info("cut short", "id", msg.ID, "err", err)
			return err
		}
		if fails != nil {
			return fails
		}
		s.log.Info("written", "id", msg.ID)
		return nil
	}, newMessage(s.seed, 1))
}

// countWritten judges a run by whether the record was written.
func countWritten(endings []ending) verdict {
	e := endings[0]
	written := strings.Count(e.printed, "msg=written")
	return verdict{
		text:   fmt.Sprintf("%s, records written: %d of 1", e.how, written),
		failed: written < 1,
	}
}

var lesson08 = lesson{
	number: 8, title: "shielded, not waited for",
	watch: "whether the record is written before the program ends",
	mistakes: inChild(child{verdict: countWritten},
		runs(stopInMidWrite, shieldOnly, shareTheCancel)),
	fix: inChild(child{verdict: countWritten},
		runs(stopInMidWrite, shieldAndWait)),
}
