// Lesson 1.8: a thousand at once.
//
// A goroutine costs almost nothing, so we start one for every message. What it
// calls does cost something: a thousand messages are a thousand restarts at the
// same time.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// startThemAll is the mistake. Only the number of messages in the broker bounds
// the restarts.
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

// messageThenSlot is the second mistake. It bounds the restarts, but not the
// messages: it takes every message there is, and their leases run out while
// they wait for a slot.
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

// slotThenMessage is the fix. It takes a slot before it takes a message. A
// lease is running only for messages that are being worked on; the others stay
// in the broker, where another process can take them.
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

// eightWorkers is the simplest fix, if several goroutines may receive. Each of
// them takes one message at a time.
func eightWorkers(ctx context.Context, b *broker, restart workFunc) {
	var workers sync.WaitGroup
	defer workers.Wait()
	for range 8 {
		workers.Go(func() {
			for {
				d, err := b.Receive(ctx, forever)
				if err != nil {
					return
				}
				restart(ctx, d.Message)
				d.Ack(ctx)
			}
		})
	}
}

// limitedGroup is almost as good. handlers.Go blocks while eight handlers run,
// and by then we have a ninth message.
func limitedGroup(ctx context.Context, b *broker, restart workFunc) {
	var handlers errgroup.Group
	handlers.SetLimit(8)
	defer handlers.Wait()
	for {
		d, err := b.Receive(ctx, forever)
		if err != nil {
			return
		}
		handlers.Go(func() error {
			restart(ctx, d.Message)
			d.Ack(ctx)
			return nil
		})
	}
}

// A pullFunc restarts the host of every message that the broker has. It blocks
// until all of them are settled.
type pullFunc func(ctx context.Context, b *broker, restart workFunc)

// pullThousand has a consumer handle a thousand messages. A restart takes 21ms
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
			s.peak, time.Since(s.start).Round(time.Millisecond)),
		failed: s.peak > 8 || s.count("restarted") > 1000,
	}
}

// every calls f every d until stop is called. stop waits for f to return.
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

var lesson08 = lesson{
	number: 8, core: true, title: "a thousand at once",
	watch:    "deliveries against messages; the verdict has the peak",
	mistakes: runs(pullThousand, startThemAll, messageThenSlot),
	fix:      runs(pullThousand, slotThenMessage, eightWorkers, limitedGroup),
}
