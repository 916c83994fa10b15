// Lesson 3.8: the zombie.
//
// The consumer is dead, and the process is alive: it answers its probe. So the
// supervisor does not restart it, and the messages pile up.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// logAndReturn is the mistake. It logs why the broker failed, and returns nil,
// as if that had dealt with it. The process lives on without a consumer.
func logAndReturn(
	ctx context.Context, m *Mandrill, handle func(*Delivery),
) error {
	for {
		d, err := m.poll(ctx, time.Second)
		if errors.Is(err, errNothing) {
			continue
		} else if err != nil {
			m.log.Warn("receive failed", "err", err)
			return nil
		}
		handle(d)
	}
}

// retryThenReturn is the fix. receive, which the service uses, asks again after
// a pause, and gives up after a while. Then the error is returned: the process
// exits with status 1, and a supervisor can restart it.
func retryThenReturn(
	ctx context.Context, m *Mandrill, handle func(*Delivery),
) error {
	for {
		d, err := m.receive(ctx)
		if err != nil {
			return err
		}
		handle(d)
	}
}

// A heartbeat is a queue that remembers when it last answered.
type heartbeat struct {
	queue
	last atomic.Int64 // Unix nanoseconds
}

// Receive implements queue.
func (h *heartbeat) Receive(
	ctx context.Context, wait time.Duration,
) (*Delivery, error) {
	d, err := h.queue.Receive(ctx, wait)
	if err == nil || errors.Is(err, errNothing) {
		h.last.Store(time.Now().UnixNano())
	}
	return d, err
}

// ready reports whether a receive has succeeded within the last three seconds.
// If the process answers a probe at all, it is alive, but that says less. (A
// consumer whose slots are all busy does not receive either. A service should
// count work in progress as a heartbeat, too.)
func (h *heartbeat) ready() bool {
	return time.Since(time.Unix(0, h.last.Load())) < 3*time.Second
}

// errSeenEnough is the cause when the scene ends.
var errSeenEnough = errors.New("seen enough")

// A consumeFunc has each delivery handled, until ctx ends or it gives up.
type consumeFunc func(
	ctx context.Context, m *Mandrill, handle func(*Delivery)) error

// brokerFails watches a service for nearly six seconds. It is sent a message
// every 300ms. After a second the broker denies every receive.
func brokerFails(ctx context.Context, s *scene, consume consumeFunc) verdict {
	const watch = 5900 * time.Millisecond
	s.log.Info("watching", "for", watch)
	return brokerFailsFor(ctx, s, consume, time.Hour, watch)
}

// brokerFailsFor has the broker fail for outage, after a second, and watches
// for as long as watch says.
func brokerFailsFor(
	ctx context.Context, s *scene, consume consumeFunc,
	outage, watch time.Duration,
) verdict {
	ctx, stop := context.WithTimeoutCause(ctx, watch, errSeenEnough)
	defer stop()
	b := newBroker(slog.New(slog.DiscardHandler), time.Minute, 1_000_000)
	s.broker = b
	b.fail = func(verb, _ string) (bool, error) {
		since := time.Since(s.start) - time.Second
		if verb == "receive" && since >= 0 && since < outage {
			return false, errDenied
		}
		return false, nil
	}
	publishing := make(chan struct{}) // closed when the publisher has ended
	go func() {
		defer close(publishing)
		for i := 1; sleep(ctx, 300*time.Millisecond) == nil; i++ {
			b.Publish(ctx, newMessage(s.seed, i))
		}
	}()
	alive := &heartbeat{queue: b}
	m := &Mandrill{
		log: s.log, queue: alive, lease: time.Minute, giveUp: 4 * time.Second,
	}
	for _, at := range []time.Duration{500, 4400} {
		probe := time.AfterFunc(at*time.Millisecond, func() {
			s.log.Info("probe", "alive", true, "ready", alive.ready(),
				"waiting", b.holds())
		})
		defer probe.Stop()
	}
	err := consume(ctx, m, func(d *Delivery) {
		d.Ack(ctx)
		s.log.Info("consumed", "id", d.ID)
	})
	ended := s.elapsed()
	if err == nil {
		<-publishing // the process lives on
	}
	text := fmt.Sprintf("process ended after %v: %v", ended, err)
	if err == nil {
		text = fmt.Sprintf("process lives on, %d waiting", b.holds())
	}
	stop()
	<-publishing
	return verdict{text: text, failed: err == nil}
}

var lesson08 = lesson{
	number: 8, core: true, title: "the zombie",
	watch:    `what happens after "receive failed"`,
	mistakes: runs(brokerFails, logAndReturn),
	fix:      runs(brokerFails, retryThenReturn),
}
