package main

import (
	"context"
	"errors"
	"time"
)

// errNoAnswer is the cause when the broker takes too long.
var errNoAnswer = errors.New("no answer in time")

// An outcome is what becomes of a message when its handler has ended.
type outcome string

const (
	toAck      outcome = "ack"       // done
	toGiveBack outcome = "give back" // another consumer can have it at once
)

// settle tells the broker what becomes of a message. It returns an error if the
// broker may not have received that. A lost lease is not an error, nor is a
// message that is already settled.
func (m *Mandrill) settle(
	ctx context.Context, d *Delivery, do outcome,
) (err error) {
	ctx, cancel := settling(ctx, m.grace/2)
	defer cancel()
	switch do {
	case toAck:
		err = d.Ack(ctx)
	case toGiveBack:
		err = d.Nack(ctx, 0)
	}
	log := m.log.With("id", d.ID, "attempt", d.Attempt, "how", do)
	switch {
	case err == nil:
		log.Info("settled")
	case errors.Is(err, errSettled):
		log.Info("settled already", "err", err)
		err = nil
	case errors.Is(err, errLeaseLost):
		log.Warn("settled too late", "err", err)
		err = nil
	default:
		log.Warn("not settled", "err", err)
	}
	return err
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
