// Lesson 3.5: the extender that never stops.
//
// A handler keeps its lease while it saves and restarts. The save fails, and
// the handler returns at once, as Go code does.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// returnEarly is the mistake. The early return does not close done, so the
// extender goes on, and the broker believes that the message is being worked
// on. Nor does returnEarly receive the result of the restart.
func returnEarly(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	done := make(chan struct{}) // closed below, when all went well
	go func() {
		for tick := time.Tick(1200 * time.Millisecond); ; {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-tick:
				d.Extend(ctx)
			}
		}
	}()
	errs := make(chan error)
	for _, job := range []workFunc{save, restart} {
		go func() {
			select {
			case errs <- job(ctx, d.Message):
			case <-ctx.Done():
			}
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			return
		}
	}
	close(done)
	d.Ack(ctx)
}

// releaseAlways is the fix. saveAndRestart, which the service uses, waits for
// both results, and has deferred the release of the lease. The message is
// settled after it has returned.
func releaseAlways(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	m := &Mandrill{
		log: quiet, lease: 3 * time.Second, timeout: 10 * time.Second,
		save: save, restart: restart,
	}
	saved, restarted := m.saveAndRestart(ctx, d)
	if saved != nil || restarted != nil {
		d.Nack(ctx, 10*time.Second)
	} else {
		d.Ack(ctx)
	}
}

// quiet is the log of a lesson that shows what the broker says.
var quiet = slog.New(slog.DiscardHandler)

// A handleBothFunc saves a message, restarts its host, and settles it.
type handleBothFunc func(
	ctx context.Context, d *Delivery, save, restart workFunc)

// saveFails watches a handler for five seconds, on a lease of three. The save
// fails after half a second, the restart takes one.
func saveFails(
	ctx context.Context, s *scene, handle handleBothFunc,
) verdict {
	const watch = 5 * time.Second
	s.broker = newBroker(s.log, 3*time.Second, 1)
	s.log.Info("watching", "for", watch)
	return saveFailsIn(ctx, s, handle, time.Second/2, watch)
}

// saveFailsIn has the save fail after that time. Then it watches.
func saveFailsIn(
	ctx context.Context, s *scene, handle handleBothFunc,
	failsAfter, watch time.Duration,
) verdict {
	return handleWatched(ctx, s, handle,
		func(ctx context.Context, msg Message) error {
			time.Sleep(failsAfter)
			s.log.Info("save failed", "id", msg.ID)
			return errDatabaseGone
		}, s.work("restarted", time.Second), watch)
}

// handleWatched has a handler save and restart, and watches for that long.
func handleWatched(
	ctx context.Context, s *scene, handle handleBothFunc,
	save, restart workFunc, watch time.Duration,
) verdict {
	ctx, s.release = context.WithCancel(ctx)
	publish(ctx, s.broker, s.seed, 1, 0)
	d, err := s.broker.Receive(ctx, forever)
	if err != nil {
		return verdict{text: err.Error()}
	}
	d.until = d.Asked.Add(s.broker.lease)
	handle(ctx, d, save, restart)
	handled := s.elapsed()
	s.broker.Receive(ctx, watch-time.Since(s.start)) // the next delivery
	time.Sleep(watch - time.Since(s.start))
	extended := s.broker.count("extended")
	return verdict{
		text: fmt.Sprintf("returned after %v, extensions: %d within %v",
			handled, extended, s.elapsed()),
		failed: extended > 0,
	}
}

var lesson05 = lesson{
	number: 5, core: true, title: "the extender that never stops",
	watch:    `what happens after "save failed"`,
	mistakes: runs(saveFails, returnEarly),
	fix:      runs(saveFails, releaseAlways),
}
