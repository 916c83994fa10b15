package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// errNoAnswer is the cause when the broker takes too long.
var errNoAnswer = errors.New("no answer in time")

// finish handles a message and settles it. If our own code panics, nothing is
// settled, and the lease runs out.
func (m *Mandrill) finish(
	ctx context.Context, d *Delivery,
	handle func(context.Context, *Delivery) (outcome, error),
) {
	err := contain(func() error {
		do, why := handle(ctx, d)
		m.inFlight.settles(d)
		m.settle(ctx, d, do, why)
		return nil
	})
	if err != nil {
		logPanic(m.log, err, "id", d.ID, "attempt", d.Attempt)
		m.inFlight.end(d, err, m.lease)
	}
}

// settle tells the broker what becomes of a message, and notes in inFlight
// whether it knows. It tries until the lease is over. Then it drops the count
// of failures, if the message is settled.
func (m *Mandrill) settle(
	ctx context.Context, d *Delivery, do outcome, why error,
) {
	failures := 0
	if do == toRetry {
		failures = m.countFailure(ctx, d)
		if failures >= m.maxFailures {
			do = toDeadLetter
			why = fmt.Errorf("failed %d times: %w", failures, why)
		}
	}
	settled, err := false, error(nil)
	switch do {
	case toAck:
		settled, err = m.tell(ctx, d, do, d.Ack)
	case toRetry:
		pause := backoff(m.seed, d.Message, m.pause, failures)
		m.log.Warn("failed", "id", d.ID, "attempt", d.Attempt,
			"failures", failures, "again_in", pause, "err", oneLine(why))
		_, err = m.tell(ctx, d, do, func(ctx context.Context) error {
			return d.Nack(ctx, pause)
		})
	case toDeadLetter:
		reason := errors.New(oneLine(why))
		settled, err = m.tell(ctx, d, do, func(ctx context.Context) error {
			return d.DeadLetter(ctx, reason)
		})
		m.log.Error("dead letter", "id", d.ID, "attempt", d.Attempt,
			"settled", settled, "err", reason)
	case toGiveBack:
		_, err = m.tell(ctx, d, do, func(ctx context.Context) error {
			return d.Nack(ctx, 0)
		})
	case toLetGo:
		m.log.Warn("let go", "id", d.ID, "attempt", d.Attempt,
			"err", oneLine(why))
	}
	m.inFlight.end(d, err, m.lease)
	m.numbers.count(d, do, settled, err)
	if settled && (d.Attempt > 1 || failures > 0) {
		m.forgetFailures(ctx, d)
	}
}

// settling returns the context of a call that is made when a handler has ended.
// It keeps the values of ctx, but not its end: neither the signal nor the drain
// deadline ends it, only a time-out of its own.
func settling(
	ctx context.Context, timeout time.Duration,
) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(
		context.WithoutCancel(ctx), timeout, errNoAnswer)
}

// tell tells the broker what becomes of a message. If that fails, it tries
// again as long as the lease lasts, because the broker may have been out of
// reach for a moment. After that it returns the last error: the message is in
// doubt. A lost lease is not an error, nor is a message that is already
// settled: by another consumer, or by a try of ours whose answer was lost. tell
// reports whether the broker has done what it was told.
func (m *Mandrill) tell(
	ctx context.Context, d *Delivery, how outcome,
	verb func(context.Context) error,
) (settled bool, err error) {
	log := func(level slog.Level, msg string, err error) {
		if !m.log.Enabled(ctx, level) {
			return // and spare us the attributes
		}
		attrs := []slog.Attr{slog.String("id", d.ID),
			slog.Int("attempt", d.Attempt), slog.String("how", string(how))}
		if err != nil {
			attrs = append(attrs, slog.String("err", oneLine(err)))
		}
		m.log.LogAttrs(ctx, level, msg, attrs...)
	}
	for failures := 1; ; failures++ {
		err := contain(func() error {
			ctx, cancel := settling(ctx, m.grace/2)
			defer cancel()
			return verb(ctx)
		})
		switch {
		case err == nil:
			log(slog.LevelInfo, "settled", nil)
			return true, nil
		case errors.Is(err, errSettled):
			log(slog.LevelInfo, "settled already", err)
			return true, nil
		case errors.Is(err, errLeaseLost):
			log(slog.LevelWarn, "settled too late", err)
			return false, nil
		}
		logPanic(m.log, err, "id", d.ID, "attempt", d.Attempt)
		log(slog.LevelWarn, "not settled", err)
		pause := pauseAfter(min(failures, 3)) // 400ms at most
		if time.Until(d.until) <= pause {
			return false, err
		}
		time.Sleep(pause)
	}
}
