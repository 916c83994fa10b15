package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A loan is the broker's side of a delivery. JetStream accepts each verb,
// however late it is: an extension or a nack after the end of the lease affects
// the delivery of the process that has the message by then. So a loan refuses
// those itself, by our own clock.
type loan struct {
	broker *jetBroker
	id     string
	reply  string // where the server expects the verbs
	data   []byte

	mu      sync.Mutex // never held while waiting
	until   time.Time  // the end of the lease
	settled bool
}

// Extend implements verbs. An answer that comes after the end of the lease is
// too late.
func (l *loan) Extend(ctx context.Context) error {
	sent := time.Now()
	return l.do(ctx, true, func() error {
		ctx, cancel := context.WithDeadlineCause(ctx, l.ends(), errLeaseLost)
		defer cancel()
		if err := l.tell(ctx, "+WPI"); err != nil { // work in progress
			return causeOf(ctx, err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.until = sent.Add(l.broker.lease)
		return nil
	})
}

// Ack implements verbs. A late one counts, even if another process has the
// message.
func (l *loan) Ack(ctx context.Context) error {
	return l.do(ctx, false, func() error {
		if err := l.tell(ctx, "+ACK"); err != nil {
			return err
		}
		l.end(true)
		l.broker.acked.Add(1)
		return nil
	})
}

// Nack implements verbs. It is not sent again if its answer is lost: another
// process may have the message, and a second nack would take it away. If the
// first one was lost, too, the message is delivered again when its lease ends.
func (l *loan) Nack(ctx context.Context, delay time.Duration) error {
	return l.do(ctx, true, func() error {
		err := l.tell(ctx, fmt.Sprintf(`-NAK {"delay": %d}`, max(delay, 1)))
		if errors.Is(err, nats.ErrReconnectBufExceeded) ||
			errors.Is(err, nats.ErrNoResponders) {
			return err // no server has heard it
		}
		l.end(err == nil)
		return err
	})
}

// DeadLetter implements verbs. It stores a copy of the message with the reason,
// and then acks the message. If it fails between the two, the next dead letter
// of the message replaces this one. A message that is as large as the server
// permits is cut, because the reason has to fit in, too.
func (l *loan) DeadLetter(ctx context.Context, reason error) error {
	return l.do(ctx, true, func() error {
		letter := nats.NewMsg(deadSubject + l.id)
		letter.Data = l.data[:min(len(l.data), l.broker.maxLetter())]
		letter.Header.Set(reasonHeader, fmt.Sprintf("%.1000s", reason))
		if len(letter.Data) < len(l.data) {
			letter.Header.Set(cutHeader, fmt.Sprint(len(l.data)))
		}
		if _, err := l.broker.js.PublishMsg(ctx, letter); err != nil {
			return err
		}
		if err := l.tell(ctx, "+ACK"); err != nil {
			return err
		}
		l.end(true)
		l.broker.deadLettered.Add(1)
		return nil
	})
}

// tell sends a verb to the server and waits for its answer. The library's
// InProgress and Nak don't wait: they return nil even if the server is gone.
func (l *loan) tell(ctx context.Context, verb string) error {
	_, err := l.broker.nc.RequestWithContext(ctx, l.reply, []byte(verb))
	return err
}

// ends returns when the lease ends, by our own clock.
func (l *loan) ends() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// end notes that the loan is over: settled, or no longer ours.
func (l *loan) end(settled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled, l.until = settled, time.Time{}
}

// do does what the verbs have in common: it refuses what comes too late. Only
// some verbs need the lease.
func (l *loan) do(
	ctx context.Context, needsLease bool, change func() error,
) error {
	l.mu.Lock()
	settled, held := l.settled, time.Now().Before(l.until)
	l.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case settled:
		return errSettled
	case needsLease && !held:
		return errLeaseLost
	}
	return causeOf(ctx, change())
}
