package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// What the broker answers when it refuses, beside the cause of a dead context.
var (
	errClosed    = errors.New("closed and empty")
	errSettled   = errors.New("already settled")
	errLeaseLost = errors.New("lease lost")
)

// A broker keeps messages until they are settled. It hands each one out for a
// limited time, the lease; what is neither settled nor extended by then, it
// hands out again. It lives in memory, and so in virtual time too. Its record
// grows with every event: it is made to learn from, not to run for years.
//
// Its methods may be called from any goroutine. Those that take a context
// refuse one that has ended, as a broker across a network would: nothing is
// sent any more.
type broker struct {
	log   *slog.Logger
	lease time.Duration
	room  int                      // messages it holds at most
	slow  map[string]time.Duration // how long a verb is on its way, if at all
	start time.Time

	mu      sync.Mutex    // never held over a wait: that stops virtual time
	held    int           // messages that are not settled yet
	ready   []*holding    // those that nobody has, oldest first
	closed  bool          // nothing more will be published
	changed chan struct{} // closed and replaced whenever one of these changes
	record  []event
}

// A holding is what the broker knows of a message. Its lock guards it.
type holding struct {
	Message
	attempt int         // how often it has been delivered
	lease   *time.Timer // nil while nobody has it
	settled bool
}

// An event is one line of the record.
type event struct {
	At      time.Duration // since the broker was made
	What    string        // published, delivered, acked, ack refused, ...
	ID      string
	Attempt int
	Reason  error // of a refusal, or of a dead letter
}

// A Delivery is a message that has been handed out. Its verbs block only while
// they are on their way, and return why the broker refuses them.
type Delivery struct {
	Message
	Attempt int // 1 for the first delivery of the message

	broker *broker
	of     *holding
	gone   bool // given back by a nack; the broker's lock guards it
}

// newBroker returns a broker with nothing in it.
func newBroker(log *slog.Logger, lease time.Duration, room int) *broker {
	return &broker{
		log:     log,
		lease:   lease,
		room:    room,
		start:   time.Now(),
		changed: make(chan struct{}),
	}
}

// Publish stores a message. It blocks while the broker is full.
func (b *broker) Publish(ctx context.Context, msg Message) error {
	return b.until(ctx, func() bool {
		if b.held == b.room {
			return false
		}
		b.held++
		b.note("published", msg.ID, 0, nil)
		b.offer(&holding{Message: msg})
		return true
	})
}

// Close says that nothing more will be published. The one who publishes calls
// it, once, after the last message.
func (b *broker) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.broadcast()
}

// Receive blocks until there is a message to hand out. It returns errClosed
// when there will be none: the broker is closed and every message settled.
func (b *broker) Receive(ctx context.Context) (d *Delivery, err error) {
	dead := b.until(ctx, func() bool {
		switch {
		case len(b.ready) > 0:
			d = b.deliver()
		case b.closed && b.held == 0:
			err = errClosed
		default:
			return false
		}
		return true
	})
	if dead != nil {
		return nil, dead
	}
	time.Sleep(b.slow["receive"]) // it is ours already, whatever ctx says
	return d, err
}

// Extend starts the lease anew. A lease that is lost stays lost.
func (d *Delivery) Extend(ctx context.Context) error {
	return d.do(ctx, "extend", nil, func(b *broker, h *holding) error {
		if !d.stop() {
			return errLeaseLost
		}
		h.lease.Reset(b.lease)
		return nil
	})
}

// Ack settles the message: it is done. A late ack counts, as it does with most
// brokers, unless somebody else has settled the message by then.
func (d *Delivery) Ack(ctx context.Context) error {
	return d.do(ctx, "ack", nil, func(b *broker, h *holding) error {
		b.remove(h)
		return nil
	})
}

// Nack gives the message back. After the delay it is handed out again.
func (d *Delivery) Nack(ctx context.Context, delay time.Duration) error {
	return d.do(ctx, "nack", nil, func(b *broker, h *holding) error {
		if !d.stop() {
			return errLeaseLost
		}
		d.gone = true
		h.lease = nil
		time.AfterFunc(delay, func() { b.back(h, "") })
		return nil
	})
}

// DeadLetter settles the message: nobody can do it, for that reason.
func (d *Delivery) DeadLetter(ctx context.Context, reason error) error {
	return d.do(ctx, "dead-letter", reason, func(b *broker, h *holding) error {
		if !d.stop() {
			return errLeaseLost
		}
		b.remove(h)
		return nil
	})
}

// do is what the verbs have in common: it refuses a context that has ended and
// a message that is settled, and it notes what happened.
func (d *Delivery) do(
	ctx context.Context, verb string, reason error,
	change func(*broker, *holding) error,
) error {
	b, err := d.broker, context.Cause(ctx)
	if way := b.slow[verb]; err == nil && way > 0 {
		err = sleep(ctx, way)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil && (d.gone || d.of.settled) {
		err = errSettled
	}
	if err == nil {
		err = change(b, d.of)
	}
	if err != nil {
		b.note(verb+" refused", d.ID, d.Attempt, err)
		return err
	}
	b.note(verb+"ed", d.ID, d.Attempt, reason)
	b.broadcast() // last: who waits for it may read the record at once
	return nil
}

// until blocks until try reports true, or ctx ends. It calls try with the lock
// held, once at first and again whenever something has changed.
func (b *broker) until(ctx context.Context, try func() bool) error {
	for ctx.Err() == nil {
		b.mu.Lock()
		done, changed := try(), b.changed
		b.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// The rest is called with the lock held, but for back.

// stop ends the lease of a delivery. It reports whether there was one.
func (d *Delivery) stop() bool {
	h := d.of
	return h.attempt == d.Attempt && h.lease != nil && h.lease.Stop()
}

// deliver hands out the oldest message that is ready.
func (b *broker) deliver() *Delivery {
	h := b.ready[0]
	b.ready = b.ready[1:]
	h.attempt++
	h.lease = time.AfterFunc(b.lease, func() { b.back(h, "expired") })
	b.note("delivered", h.ID, h.attempt, nil)
	return &Delivery{
		Message: h.Message, Attempt: h.attempt, broker: b, of: h,
	}
}

// back makes a message ready again, when its lease or its delay has ended.
func (b *broker) back(h *holding, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h.settled {
		return
	}
	h.lease = nil
	if why != "" {
		b.note(why, h.ID, h.attempt, nil)
	}
	b.offer(h)
}

func (b *broker) offer(h *holding) {
	b.ready = append(b.ready, h)
	b.broadcast()
}

// remove forgets a message. Its lease may still run; it ends without a sound. A
// late ack may also find the message ready again.
func (b *broker) remove(h *holding) {
	h.settled = true
	b.held--
	if i := slices.Index(b.ready, h); i >= 0 {
		b.ready = slices.Delete(b.ready, i, i+1)
	}
}

func (b *broker) broadcast() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// note writes the record and the log. It does so under one lock, so that both
// tell the same order.
func (b *broker) note(what, id string, attempt int, reason error) {
	b.record = append(b.record,
		event{time.Since(b.start), what, id, attempt, reason})
	attrs := []any{"id", id}
	if attempt > 0 {
		attrs = append(attrs, "attempt", attempt)
	}
	if reason != nil {
		attrs = append(attrs, "reason", reason)
	}
	b.log.Info(what, attrs...)
}

// story returns the record of one message, from its first delivery on.
func (b *broker) story(id string) (lines []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.record {
		if e.ID != id || e.Attempt == 0 {
			continue
		}
		line := fmt.Sprintf("%v: %s #%d", e.At, e.What, e.Attempt)
		if e.Reason != nil {
			line += ": " + e.Reason.Error()
		}
		lines = append(lines, line)
	}
	return lines
}

// holds returns how many messages are not settled yet.
func (b *broker) holds() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

// count returns how often something is in the record: "acked", for example.
func (b *broker) count(what string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.record {
		if e.What == what {
			n++
		}
	}
	return n
}
