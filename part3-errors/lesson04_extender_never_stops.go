// Lesson 3.4: the extender that never stops.
//
// A handler keeps its lease while it saves and restarts. The save fails, and
// the handler returns at once: what else should it do?

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var lesson04 = lesson{
	number: 4, core: true, title: "the extender that never stops",
	mistakes: runs(saveFails, returnEarly),
	fix:      runs(saveFails, releaseAlways),
}

// returnEarly is the mistake. Nobody closes done on this way out, so the
// extender goes on, and the broker believes that somebody works. And nobody
// receives the result of the restart any more.
func returnEarly(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	done := make(chan struct{}) // closed below, when all went well
	go func() {
		for tick := time.Tick(2 * time.Second); ; {
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

// releaseAlways is the fix. Both results are waited for. Whichever way we
// leave, the extender is stopped and waited for, and only then the message is
// settled.
func releaseAlways(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	err := func() error {
		extending, stop := context.WithCancel(ctx)
		var extender sync.WaitGroup
		defer extender.Wait()
		defer stop()
		extender.Go(func() {
			for tick := time.Tick(2 * time.Second); ; {
				select {
				case <-extending.Done():
					return
				case <-tick:
					d.Extend(extending)
				}
			}
		})
		var saved, restarted error
		var work sync.WaitGroup
		work.Go(func() { saved = save(ctx, d.Message) })
		work.Go(func() { restarted = restart(ctx, d.Message) })
		work.Wait()
		return errors.Join(saved, restarted)
	}()
	if err != nil {
		d.Nack(ctx, 10*time.Second)
	} else {
		d.Ack(ctx)
	}
}

type handleBothFunc func(
	ctx context.Context, d *Delivery, save, restart workFunc)

// saveFails watches a handler for five seconds, on a lease of three. The save
// fails after half a second, the restart takes one.
func saveFails(
	ctx context.Context, s *scene, handle handleBothFunc,
) verdict {
	s.broker = newBroker(s.log, 3*time.Second, 1)
	return saveFailsAt(ctx, s, handle, 500*time.Millisecond, 5*time.Second)
}

func saveFailsAt(
	ctx context.Context, s *scene, handle handleBothFunc,
	at, watch time.Duration,
) verdict {
	ctx, s.release = context.WithCancel(ctx)
	publish(ctx, s.broker, s.seed, 1, 0)
	d, err := s.broker.Receive(ctx, forever)
	if err != nil {
		return verdict{text: err.Error()}
	}
	handle(ctx, d, func(ctx context.Context, msg Message) error {
		time.Sleep(at)
		s.log.Info("save failed", "id", msg.ID)
		return errDatabaseGone
	}, s.work("restarted", time.Second))
	handled := s.elapsed()
	time.Sleep(watch - time.Since(s.start))
	extended := s.broker.count("extended")
	return verdict{
		text: fmt.Sprintf("returned after %v, extended %d times by %v",
			handled, extended, s.elapsed()),
		failed: extended > 0,
	}
}
