// Lesson 1.8: a thousand at once.
//
// A goroutine costs next to nothing, so we start one for every message. What it
// calls does cost something: a thousand messages are a thousand restarts at the
// same time.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

var lesson08 = lesson{
	number: 8, core: true, title: "a thousand at once",
	mistakes: runs(pullThousand, startThemAll, messageThenSlot),
	fix:      runs(pullThousand, slotThenMessage),
}

// startThemAll is the mistake. Nothing bounds the restarts but the number of
// messages in the broker.
func startThemAll(ctx context.Context, b *broker, restart workFunc) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for {
		d, err := b.Receive(ctx, forever)
		if err != nil {
			return
		}
		handlers.Go(func() {
			restart(ctx, d.Message)
			d.Ack(ctx)
		})
	}
}

// messageThenSlot is the second mistake. It does bound the restarts, but it
// takes every message there is, and lets their leases run out in the queue.
func messageThenSlot(ctx context.Context, b *broker, restart workFunc) {
	slots := make(chan struct{}, 8)
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for {
		d, err := b.Receive(ctx, forever)
		if err != nil {
			return
		}
		handlers.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			restart(ctx, d.Message)
			d.Ack(ctx)
		})
	}
}

// slotThenMessage is the fix. Who has no slot takes no message, so a lease runs
// only while somebody works, and the rest stays where others can have it.
func slotThenMessage(ctx context.Context, b *broker, restart workFunc) {
	slots := make(chan struct{}, 8)
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for {
		slots <- struct{}{}
		d, err := b.Receive(ctx, forever)
		if err != nil {
			return
		}
		handlers.Go(func() {
			defer func() { <-slots }()
			restart(ctx, d.Message)
			d.Ack(ctx)
		})
	}
}

type pullFunc func(ctx context.Context, b *broker, restart workFunc)

// pullThousand lets a consumer handle a thousand messages. A restart takes 21ms
// and a lease lasts 500ms, so eight slots should need 2.625s.
func pullThousand(ctx context.Context, s *scene, pull pullFunc) verdict {
	log := s.log
	s.log = slog.New(slog.DiscardHandler) // a line for each is too much
	b := newBroker(s.log, 500*time.Millisecond, 1000)
	s.broker = b
	publish(ctx, b, s.seed, 1000, 0)

	stop := every(800*time.Millisecond, func() {
		log.Info("so far", "acked", b.count("acked"),
			"deliveries", b.count("delivered"),
			"restarts", s.count("restarted"))
	})
	pull(ctx, b, s.work("restarted", 21*time.Millisecond))
	stop()
	return verdict{
		text: fmt.Sprintf("1000 messages, deliveries %d, restarts %d, "+
			"peak %d, took %v", b.count("delivered"), s.count("restarted"),
			s.peak, s.elapsed()),
		failed: s.peak > 8 || s.count("restarted") > 1000,
	}
}

// every calls f again and again until stop is called, which waits for it.
func every(d time.Duration, f func()) (stop func()) {
	tick, done := time.NewTicker(d), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-tick.C:
				f()
			case <-done:
				return
			}
		}
	})
	return func() {
		tick.Stop()
		close(done)
		wg.Wait()
	}
}
