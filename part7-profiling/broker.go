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

// What Receive returns instead of a message.
var (
	errNothing = errors.New("no message yet")
	errClosed  = errors.New("closed and empty")
)

// A queue holds messages until a consumer has settled them. Its methods may be
// called from any goroutine.
type queue interface {
	// Publish stores a message. It blocks while the queue is full.
	Publish(ctx context.Context, msg Message) error

	// Close says that nothing more will be published. The publisher calls it,
	// once, after the last message.
	Close()

	// Receive asks for messages, at least one and at most that many. The broker
	// hands out what is there. If nothing is, it waits for a message, but not
	// longer than wait: then Receive returns errNothing. It returns errClosed
	// when the queue is closed and every message settled. Don't cancel ctx
	// while the broker waits: if it has handed out messages by then, no
	// consumer has them until their leases end.
	Receive(
		ctx context.Context, wait time.Duration, most int,
	) ([]*Delivery, error)
}

// A Delivery is a message in the hands of a consumer. The broker lends it for a
// limited time, the lease, and then delivers it again.
type Delivery struct {
	Message
	Attempt   int       // how many times the broker has delivered the message
	Asked     time.Time // when we asked for it: the lease began no earlier
	Published time.Time // when the broker stored it, by the broker's clock
	until     time.Time // when it ends, by our own clock: see keepLease
	invalid   error     // why it is no restart request, if it is none
	verbs
}

// What a verb returns if it comes too late, apart from network errors.
var (
	errSettled   = errors.New("already settled")
	errLeaseLost = errors.New("lease lost")
)

// The verbs tell the broker what becomes of a delivery. They block until it has
// answered, or until ctx ends. A verb that returns an error may have done its
// work anyway: perhaps only the answer was lost.
type verbs interface {
	// Extend starts the lease again. A lease that is lost stays lost.
	Extend(ctx context.Context) error

	// Ack settles the message: it is done.
	Ack(ctx context.Context) error

	// Nack gives the message back. After the delay it is delivered again.
	Nack(ctx context.Context, delay time.Duration) error

	// DeadLetter settles a message that can't be done. The reason says why.
	DeadLetter(ctx context.Context, reason error) error
}

// An event is one line of a record.
type event struct {
	At      time.Duration // since the record began
	What    string        // published, delivered, acked, ack refused, ...
	ID      string
	Attempt int
	Reason  error // of a refusal, or of a dead letter
}

// A record is what a broker has done, in order. It grows with every event,
// because it is meant for lessons, not for a service that runs for years.
type record struct {
	log   *slog.Logger
	start time.Time

	lock   sync.Mutex
	chunks [][]event // so that no event is copied as the record grows
}

// note adds an event, and logs it under the same lock, so that the record and
// the log tell the same order.
func (r *record) note(what, id string, attempt int, reason error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if n := len(r.chunks); n == 0 || len(r.chunks[n-1]) == 1000 {
		r.chunks = append(r.chunks, nil)
	}
	last := &r.chunks[len(r.chunks)-1]
	*last = append(*last,
		event{time.Since(r.start), what, id, attempt, reason})
	if !r.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	attrs := []slog.Attr{slog.String("id", id)}
	if attempt > 0 {
		attrs = append(attrs, slog.Int("attempt", attempt))
	}
	if reason != nil {
		attrs = append(attrs, slog.Any("reason", reason))
	}
	r.log.LogAttrs(context.Background(), slog.LevelInfo, what, attrs...)
}

// events returns all events so far.
func (r *record) events() []event {
	r.lock.Lock()
	defer r.lock.Unlock()
	return slices.Concat(r.chunks...)
}

// story returns the events of one message, from its first delivery on.
func (r *record) story(id string) (lines []string) {
	for _, e := range r.events() {
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

// count returns how often something has happened: "acked", for example.
func (r *record) count(what string) (n int) {
	for _, e := range r.events() {
		if e.What == what {
			n++
		}
	}
	return n
}
