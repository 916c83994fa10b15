package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A contractCase is a queue with room for one message, and what its calls have
// returned so far.
type contractCase struct {
	queue
	ctx      context.Context
	lease    time.Duration
	returned []string
}

// note keeps what a call has returned.
func (c *contractCase) note(call string, err error) {
	result := "ok"
	if err != nil {
		result = err.Error()
	}
	c.returned = append(c.returned, call+": "+result)
}

// receive waits for that many leases.
func (c *contractCase) receive(leases float64) *Delivery {
	d, err := c.Receive(c.ctx, time.Duration(leases*float64(c.lease)))
	if err != nil {
		c.note("receive", err)
		return nil
	}
	c.note(fmt.Sprintf("receive %s #%d", d.ID, d.Attempt), nil)
	return d
}

// verbs calls some verbs of a delivery.
func (c *contractCase) verbs(ctx context.Context, d *Delivery, list ...string) {
	for _, verb := range list {
		var err error
		switch verb {
		case "extend":
			err = d.Extend(ctx)
		case "ack":
			err = d.Ack(ctx)
		case "nack":
			err = d.Nack(ctx, 0)
		case "dead-letter":
			err = d.DeadLetter(ctx, errNoSuchHost)
		}
		c.note(fmt.Sprintf("%s #%d", verb, d.Attempt), err)
	}
}

// TestContract plays what the service relies on, with the teaching broker of
// the other tests, in virtual time, and with JetStream, in real time. Both
// return the same. Where a comment says "ours", JetStream itself would do
// otherwise, and the loan keeps the promise.
func TestContract(t *testing.T) {
	t.Parallel()
	tooLate := errors.New("too late")
	for _, tt := range []struct {
		name string
		play func(c *contractCase, d *Delivery)
		want []string // what the calls return, after m1 was received
	}{
		{"an ack is for ever", func(c *contractCase, d *Delivery) {
			c.verbs(c.ctx, d, "ack", "ack", "nack", "extend", "dead-letter")
			c.receive(1.25)
		}, []string{
			"ack #1: ok", "ack #1: already settled", // ours
			"nack #1: already settled", "extend #1: already settled",
			"dead-letter #1: already settled", "receive: no message yet",
		}},
		{"a lease ends", func(c *contractCase, d *Delivery) {
			second := c.receive(3)
			c.verbs(c.ctx, d, "extend", "nack", "dead-letter")
			c.receive(0.5) // the second lease is not touched
			c.verbs(c.ctx, second, "ack")
		}, []string{
			"receive m1 #2: ok", "extend #1: lease lost", // ours
			"nack #1: lease lost", "dead-letter #1: lease lost", // ours
			"receive: no message yet", "ack #2: ok",
		}},
		{"a lease is extended", func(c *contractCase, d *Delivery) {
			for range 3 {
				time.Sleep(c.lease / 2)
				c.verbs(c.ctx, d, "extend")
			}
			c.receive(0.5)
			c.verbs(c.ctx, d, "ack")
		}, []string{
			"extend #1: ok", "extend #1: ok", "extend #1: ok",
			"receive: no message yet", "ack #1: ok",
		}},
		{"a nack gives back at once", func(c *contractCase, d *Delivery) {
			c.verbs(c.ctx, d, "nack", "nack", "extend")
			c.verbs(c.ctx, c.receive(0.5), "ack")
		}, []string{
			"nack #1: ok", "nack #1: already settled", // ours
			"extend #1: already settled", "receive m1 #2: ok", "ack #2: ok",
		}},
		{"a nack has its delay", func(c *contractCase, d *Delivery) {
			c.note("nack", d.Nack(c.ctx, c.lease*3/2))
			c.receive(1)
			c.verbs(c.ctx, c.receive(2), "ack")
		}, []string{
			"nack: ok", "receive: no message yet", "receive m1 #2: ok",
			"ack #2: ok",
		}},
		{"a late ack counts", func(c *contractCase, d *Delivery) {
			time.Sleep(c.lease + time.Millisecond)
			c.verbs(c.ctx, d, "ack")
			c.receive(1)
		}, []string{"ack #1: ok", "receive: no message yet"}},
		{"even if another process has the message", func(
			c *contractCase, d *Delivery,
		) {
			c.receive(3)
			c.verbs(c.ctx, d, "ack")
			c.receive(1.25)
		}, []string{
			"receive m1 #2: ok", "ack #1: ok", "receive: no message yet",
		}},
		{"a dead letter settles", func(c *contractCase, d *Delivery) {
			c.verbs(c.ctx, d, "dead-letter", "ack")
			c.receive(1.25)
		}, []string{
			"dead-letter #1: ok", "ack #1: already settled", // ours
			"receive: no message yet",
		}},
		{"a dead context gets nowhere", func(c *contractCase, d *Delivery) {
			dead, cancel := context.WithCancelCause(c.ctx)
			cancel(tooLate)
			c.verbs(dead, d, "extend", "nack", "dead-letter", "ack")
			_, err := c.Receive(dead, c.lease)
			c.note("receive", err)
			c.note("publish", c.Publish(dead, newMessage(1, 2)))
			c.verbs(c.ctx, d, "ack")
		}, []string{
			"extend #1: too late", "nack #1: too late",
			"dead-letter #1: too late", "ack #1: too late",
			"receive: too late", "publish: too late", "ack #1: ok",
		}},
		{"a full queue makes the publisher wait", func(
			c *contractCase, d *Delivery,
		) {
			ctx, cancel := context.WithTimeoutCause(
				c.ctx, c.lease/4, tooLate)
			defer cancel()
			c.note("publish m2", c.Publish(ctx, newMessage(1, 2)))
			c.verbs(c.ctx, d, "ack")
			c.note("publish m3", c.Publish(c.ctx, newMessage(1, 3)))
			c.verbs(c.ctx, c.receive(1), "ack")
		}, []string{
			"publish m2: too late", "ack #1: ok", "publish m3: ok",
			"receive m3 #1: ok", "ack #1: ok",
		}},
		{"closed is not empty", func(c *contractCase, d *Delivery) {
			c.Close()
			c.receive(0.25)
			c.verbs(c.ctx, d, "ack")
			c.receive(0.25)
		}, []string{
			"receive: no message yet", "ack #1: ok",
			"receive: closed and empty",
		}},
	} {
		play := func(t *testing.T, q queue, lease time.Duration) {
			c := &contractCase{queue: q, ctx: t.Context(), lease: lease}
			require.NoError(t, q.Publish(c.ctx, newMessage(1, 1)))
			first, err := q.Receive(c.ctx, lease)
			require.NoError(t, err)
			tt.play(c, first)
			assert.Equal(t, tt.want, c.returned)
		}
		const lease = 1500 * time.Millisecond
		t.Run("teaching broker: "+tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				play(t, quietBroker(lease, 1), lease)
			})
		})
		t.Run("JetStream: "+tt.name, func(t *testing.T) {
			t.Parallel()
			play(t, jetBrokerFor(t, lease, 1), lease)
		})
	}
}

// jetBrokerFor returns a broker on a server of its own, which ends with the
// test.
func jetBrokerFor(t testing.TB, lease time.Duration, room int) *jetBroker {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	nc, stop, err := connect(log, "", t.TempDir())
	require.NoError(t, err)
	t.Cleanup(stop)
	b, err := openBroker(t.Context(), log, nc, lease, room, 1)
	require.NoError(t, err)
	return b
}
