// Lesson 4.5: the library's one goroutine.
//
// nats.go can call us for every message. All of those calls are made by one
// goroutine, and the library takes messages long before it calls.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// consumeInCallback is the mistake. It looks like a handler for each message,
// as an HTTP server has one for each request. Nothing in its types says
// otherwise.
func consumeInCallback(
	ctx context.Context, b *jetBroker, restart workFunc,
) error {
	_, err := b.consumer.Consume(callback(ctx, restart))
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// callback returns a function that restarts the host of a message, and acks.
func callback(ctx context.Context, restart workFunc) func(jetstream.Msg) {
	return func(m jetstream.Msg) {
		msg, err := decode(m.Data())
		if err == nil {
			err = restart(ctx, msg)
		}
		if err == nil {
			err = m.Ack()
		}
		if err != nil {
			quiet.Error("not restarted", "err", err) // it is delivered again
		}
	}
}

// consumeInSlots is the fix: the service, with five slots. It takes a slot,
// asks for one message, and gives it a goroutine of its own.
func consumeInSlots(ctx context.Context, b *jetBroker, restart workFunc) error {
	return serviceOn(b, 5, restart).Run(ctx)
}

// consumeInOneSlot is the fix with one slot. It works as serially as the
// callback, but it takes no message that has to wait.
func consumeInOneSlot(
	ctx context.Context, b *jetBroker, restart workFunc,
) error {
	return serviceOn(b, 1, restart).Run(ctx)
}

// consumeAndDrain is the fix for whatever keeps the callback. It returns when
// the library has handled what it has taken, and has stopped.
func consumeAndDrain(
	ctx context.Context, b *jetBroker, restart workFunc,
) error {
	work := context.WithoutCancel(ctx) // a drain does not cancel
	consuming, err := b.consumer.Consume(callback(work, restart))
	if err != nil {
		return err
	}
	<-ctx.Done()
	consuming.Drain()
	<-consuming.Closed()
	return nil
}

// serviceOn returns the service, with nothing to save.
func serviceOn(b *jetBroker, slots int, restart workFunc) *Mandrill {
	return &Mandrill{
		log: quiet, queue: b, lease: b.lease, slots: slots, restart: restart,
		save:  func(context.Context, Message) error { return nil },
		grace: 20 * time.Second, // for an answer on a slow machine
	}
}

// quiet is a log that nobody reads.
var quiet = slog.New(slog.DiscardHandler)

// A consumeFunc restarts the host of each message until ctx ends.
type consumeFunc func(
	ctx context.Context, b *jetBroker, restart workFunc) error

// fiveAtOnce has five messages in the stream. Each restart takes 200ms.
func fiveAtOnce(
	ctx context.Context, s *scene, consume consumeFunc,
) verdict {
	const takes = 200 * time.Millisecond
	var took time.Duration
	onJetStream(ctx, s, 2*time.Second, 5, func(b *jetBroker) {
		began := s.elapsed()
		consuming(ctx, b, consume, s.work("restarted", takes), func() {
			untilEmpty(ctx, b)
			took = s.elapsed() - began
		})
	})
	how := "side by side"
	if s.peak == 1 {
		how = "one after the other"
	}
	return verdict{
		text: fmt.Sprintf("%d restarts of %v, %s, took %v",
			s.count("restarted"), takes, how, took),
		failed: s.peak == 1,
	}
}

// fourInABuffer has four messages in the stream. Each restart takes 400ms, and
// a lease lasts a second.
func fourInABuffer(
	ctx context.Context, s *scene, consume consumeFunc,
) verdict {
	const takes = 400 * time.Millisecond
	var mu sync.Mutex
	seen, again := make(map[string]bool), 0
	restart := func(ctx context.Context, msg Message) error {
		if err := sleep(ctx, takes); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if seen[msg.ID] {
			if again++; again == 1 { // their number varies
				s.log.Info("the first one is restarted again")
			}
			return nil
		}
		seen[msg.ID] = true
		s.did("restarted", msg, takes)
		return nil
	}
	const lease = time.Second
	s.log.Info("four messages", "each", takes, "lease", lease)
	onJetStream(ctx, s, lease, 4, func(b *jetBroker) {
		consuming(ctx, b, consume, restart, func() {
			untilEmpty(ctx, b)
			sleep(ctx, 3*takes) // for what the library still has
		})
	})
	s.restarts = len(seen) + again
	if again == 0 {
		return verdict{text: "restarts: 4 of 4 requested"}
	}
	return verdict{
		text: fmt.Sprintf("restarts: ~%d of 4 requested (the number varies)",
			s.restarts),
		failed: true,
	}
}

// publishAfterwards stops the function after the first message. When the
// function has returned, it publishes a second message.
func publishAfterwards(
	ctx context.Context, s *scene, consume consumeFunc,
) verdict {
	onJetStream(ctx, s, 2*time.Second, 1, func(b *jetBroker) {
		restart := s.work("restarted", 100*time.Millisecond)
		consuming(ctx, b, consume, restart, func() { untilEmpty(ctx, b) })
		s.log.Info("the function has returned")
		_, err := b.send(ctx, newMessage(s.seed, 2))
		s.log.Info("published afterwards", "id", "m2", "err", err)
		for range 100 {
			if s.count("restarted") == 2 {
				break
			}
			sleep(ctx, 10*time.Millisecond)
		}
	})
	after := s.count("restarted") - 1
	return verdict{
		text:   fmt.Sprintf("restarts after the function returned: %d", after),
		failed: after > 0,
	}
}

// onJetStream plays with a broker that has n messages, on a server of its own.
func onJetStream(
	ctx context.Context, s *scene, lease time.Duration, n int,
	play func(b *jetBroker),
) {
	nc, stop, err := connect(quiet, "", "")
	if err != nil {
		s.log.Error("no server", "err", err)
		return
	}
	defer stop()
	b, err := openBroker(ctx, quiet, nc, lease, room, 1)
	if err == nil && n > 0 { // for publish, 0 is no limit
		err = publish(ctx, b, s.seed, n, 0)
	}
	if err != nil {
		s.log.Error("no messages", "err", err)
		return
	}
	play(b)
}

// consuming calls consume while f runs, and returns when both have.
func consuming(
	ctx context.Context, b *jetBroker, consume consumeFunc, restart workFunc,
	f func(),
) {
	consumeCtx, stop := context.WithCancel(ctx)
	var consumer sync.WaitGroup
	consumer.Go(func() { consume(consumeCtx, b, restart) })
	f()
	stop()
	consumer.Wait()
}

// untilEmpty waits until every message is settled, ten seconds at most.
func untilEmpty(ctx context.Context, b *jetBroker) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if left, err := b.left(ctx); err == nil && left == 0 {
			return
		}
		sleep(ctx, 10*time.Millisecond)
	}
}

var lesson05 = lesson{
	number: 5, core: true, title: "the library's one goroutine",
	watch: "how long it takes, how many restarts there are, whether it stops",
	mistakes: inRealTime(slices.Concat(
		runs(fiveAtOnce, consumeInCallback),
		runs(fourInABuffer, consumeInCallback),
		runs(publishAfterwards, consumeInCallback))),
	fix: inRealTime(slices.Concat(
		runs(fiveAtOnce, consumeInSlots),
		runs(fourInABuffer, consumeInOneSlot),
		runs(publishAfterwards, consumeInSlots, consumeAndDrain))),
}
