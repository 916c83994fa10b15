package main

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"
)

// A broker is a queue in memory, made for teaching. It also works in virtual
// time. It delivers a message again when its lease has ended.
//
// It behaves like a broker across a network. It refuses a context that has
// ended. If a call is cancelled while the answer is on its way, the answer is
// lost, although the broker has handed out the message. It can be slow and it
// can fail, and a call that fails may have done its work.
type broker struct {
	record
	lease time.Duration
	room  int // messages it holds at most

	// Tests set how long each verb takes to arrive, and how it fails. fail is
	// called without a lock for each verb that has arrived, and may block. If
	// it returns an error, the verb returns that error. did reports whether the
	// verb has done its work anyway.
	slow map[string]time.Duration
	fail func(verb, id string) (did bool, err error)

	mu      sync.Mutex // never held while waiting: that stops virtual time
	is      [5]int     // how many messages are in each state
	ready   []*holding // those that can be delivered, oldest first
	closed  bool       // nothing more will be published
	changed chan struct{}
}

// A state is what has become of a message, as far as the broker knows.
type state int

const (
	undelivered  state = iota // not delivered yet
	waiting                   // to be delivered again
	leased                    // lent to a consumer
	acked                     // settled: done
	deadLettered              // settled: it cannot be done
)

// A holding is what the broker knows of a message. Its lock guards it.
type holding struct {
	Message
	published time.Time
	attempt   int         // how often it has been delivered
	state     state       // set by move
	timer     *time.Timer // of its lease, or of the delay of a nack
}

// forever is a wait that only a context can end.
const forever = time.Duration(math.MaxInt64)

// newBroker returns a broker with nothing in it.
func newBroker(log *slog.Logger, lease time.Duration, room int) *broker {
	return &broker{
		record: record{log: log, start: time.Now()}, lease: lease, room: room,
	}
}

// Publish implements queue.
func (b *broker) Publish(ctx context.Context, msg Message) error {
	return b.until(ctx, forever, func() bool {
		if b.held() == b.room {
			return false
		}
		h := &holding{Message: msg, published: time.Now()}
		b.is[undelivered]++
		b.note("published", msg.ID, 0, nil)
		b.offer(h)
		return true
	})
}

// Close implements queue.
func (b *broker) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.broadcast()
}

// Receive implements queue. The queue is at its end when it is closed and every
// message is settled, not before: a message that a consumer has may come back.
func (b *broker) Receive(
	ctx context.Context, wait time.Duration, most int,
) (batch []*Delivery, err error) {
	asked := time.Now()
	var did bool
	var failure error
	if b.fail != nil {
		did, failure = b.fail("receive", "")
	}
	if failure != nil && !did {
		return nil, failure
	}
	dead := b.until(ctx, wait, func() bool {
		for len(batch) < most {
			h := b.next()
			if h == nil {
				break
			}
			batch = append(batch, b.deliver(h, asked))
		}
		if len(batch) == 0 && b.closed && b.held() == 0 {
			err = errClosed
		}
		return len(batch) > 0 || err != nil
	})
	switch {
	case failure != nil:
		return nil, failure // whatever it has done
	case dead != nil:
		return nil, dead
	case err != nil:
		return nil, err
	}
	if slow := b.slow["receive"]; slow > 0 {
		if err := sleep(ctx, slow); err != nil {
			return nil, err // the answer is lost: the caller has gone
		}
	}
	return batch, nil
}

// until blocks until try reports true, until ctx ends, or for that long: then
// it returns errNothing. It calls try with the lock held, once at first and
// again whenever something has changed.
func (b *broker) until(
	ctx context.Context, wait time.Duration, try func() bool,
) error {
	var over <-chan time.Time
	for ctx.Err() == nil {
		b.mu.Lock()
		if try() {
			b.mu.Unlock()
			return nil
		}
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		if over == nil {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-changed:
		case <-over:
			return errNothing
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// holds returns how many messages are not settled yet.
func (b *broker) holds() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held()
}

// states returns how many messages are in each state, at one instant.
func (b *broker) states() [5]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.is
}

// The functions below are called with the lock held, except expire, do and the
// verbs: they lock it themselves.

// held returns how many messages are not settled.
func (b *broker) held() int {
	return b.is[undelivered] + b.is[waiting] + b.is[leased]
}

// move changes the state of a message.
func (b *broker) move(h *holding, to state) {
	b.is[h.state]--
	b.is[to]++
	h.state = to
}

// offer makes a message ready to be delivered.
func (b *broker) offer(h *holding) {
	b.ready = append(b.ready, h)
	b.broadcast()
}

// next takes the oldest message that is ready. It drops messages that a late
// ack has settled while they were ready.
func (b *broker) next() *holding {
	for len(b.ready) > 0 {
		h := b.ready[0]
		b.ready = b.ready[1:]
		if h.state < leased {
			return h
		}
	}
	return nil
}

// deliver hands out a message and starts its lease.
func (b *broker) deliver(h *holding, asked time.Time) *Delivery {
	h.attempt++
	b.move(h, leased)
	h.timer = time.AfterFunc(b.lease, func() { b.expire(h, "expired") })
	b.note("delivered", h.ID, h.attempt, nil)
	return &Delivery{
		Message: h.Message, Attempt: h.attempt, Asked: asked,
		Published: h.published,
		verbs:     &lent{broker: b, of: h, attempt: h.attempt},
	}
}

// expire makes a message ready when its lease or its delay has ended.
func (b *broker) expire(h *holding, what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h.state > leased {
		return // settled in this very instant
	}
	if what != "" {
		b.note(what, h.ID, h.attempt, nil)
		b.move(h, waiting)
	}
	b.offer(h)
}

// settle settles a message and stops its timer.
func (b *broker) settle(h *holding, to state) {
	if h.timer != nil {
		h.timer.Stop()
	}
	b.move(h, to)
}

// broadcast wakes every goroutine that is blocked in until.
func (b *broker) broadcast() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// A lent is the broker's side of a delivery.
type lent struct {
	broker  *broker
	of      *holding
	attempt int
	gone    bool // given back by a nack; the broker's lock guards it
}

// Extend implements verbs.
func (l *lent) Extend(ctx context.Context) error {
	return l.do(ctx, "extend", nil, func() error {
		if !l.stop() {
			return errLeaseLost
		}
		l.of.timer.Reset(l.broker.lease)
		return nil
	})
}

// Ack implements verbs. It also counts when the lease has ended, unless the
// message is settled by then. (Brokers differ in this: JetStream takes a late
// ack, SQS may ignore it.)
func (l *lent) Ack(ctx context.Context) error {
	return l.do(ctx, "ack", nil, func() error {
		l.broker.settle(l.of, acked)
		return nil
	})
}

// Nack implements verbs.
func (l *lent) Nack(ctx context.Context, delay time.Duration) error {
	return l.do(ctx, "nack", nil, func() error {
		if !l.stop() {
			return errLeaseLost
		}
		l.gone = true
		l.broker.move(l.of, waiting)
		l.of.timer = time.AfterFunc(delay, func() {
			l.broker.expire(l.of, "")
		})
		return nil
	})
}

// DeadLetter implements verbs.
func (l *lent) DeadLetter(ctx context.Context, reason error) error {
	return l.do(ctx, "dead-letter", reason, func() error {
		if !l.stop() {
			return errLeaseLost
		}
		l.broker.settle(l.of, deadLettered)
		return nil
	})
}

// do does what the verbs have in common. It takes its time, fails if the test
// wants it to, and refuses a delivery that is settled or was given back. What
// happens goes into the record.
func (l *lent) do(
	ctx context.Context, verb string, reason error, change func() error,
) error {
	b, err := l.broker, context.Cause(ctx)
	if slow := b.slow[verb]; err == nil && slow > 0 {
		err = sleep(ctx, slow)
	}
	var lost error // the answer, if the verb fails although it did its work
	if err == nil && b.fail != nil {
		did, failure := b.fail(verb, l.of.ID)
		if did {
			lost = failure
		} else {
			err = failure
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil && (l.gone || l.of.state > leased) {
		err = errSettled
	}
	if err == nil {
		err = change()
	}
	if err != nil {
		b.note(verb+" refused", l.of.ID, l.attempt, err)
		return err
	}
	b.note(verb+"ed", l.of.ID, l.attempt, reason)
	b.broadcast() // last: whoever it wakes may read the record at once
	return lost
}

// stop ends the lease of a delivery. It reports whether there was one.
func (l *lent) stop() bool {
	return l.of.attempt == l.attempt && l.of.state == leased &&
		l.of.timer.Stop()
}
