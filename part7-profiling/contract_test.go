package main

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A contractCase plays one case on a queue with room for one message, and
// records what the calls return.
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

// receive calls Receive, with a wait of that many leases.
func (c *contractCase) receive(leases float64) *Delivery {
	wait := time.Duration(leases * float64(c.lease))
	d, err := one(c.Receive(c.ctx, wait, 1))
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
		if d == nil {
			return // nothing was received, and that is noted
		}
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

// The contract is what the service relies on. Where a comment says "ours",
// JetStream alone behaves differently, and our adapter adds the promise.
var contract = []struct {
	name string
	play func(c *contractCase, d *Delivery)
	want []string // what the calls return, after m1 was received
}{
	{"an ack is final", func(c *contractCase, d *Delivery) {
		c.verbs(c.ctx, d, "ack", "ack", "nack", "extend", "dead-letter")
		c.receive(1.25)
	}, []string{
		"ack #1: ok",
		"ack #1: already settled",         // ours
		"nack #1: already settled",        // ours
		"extend #1: already settled",      // ours
		"dead-letter #1: already settled", // ours
		"receive: no message yet",
	}},
	{"a lease ends", func(c *contractCase, d *Delivery) {
		second := c.receive(3)
		c.verbs(c.ctx, d, "extend", "nack", "dead-letter")
		c.receive(0.5) // the second lease is not touched
		c.verbs(c.ctx, second, "ack")
	}, []string{
		"receive m1 #2: ok",
		"extend #1: lease lost",      // ours
		"nack #1: lease lost",        // ours
		"dead-letter #1: lease lost", // ours
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
		"nack #1: ok",
		"nack #1: already settled",   // ours
		"extend #1: already settled", // ours
		"receive m1 #2: ok", "ack #2: ok",
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
	{"a late ack counts after another delivery", func(
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
		"dead-letter #1: ok",
		"ack #1: already settled", // ours
		"receive: no message yet",
	}},
	{"an ended context is refused", func(c *contractCase, d *Delivery) {
		dead, cancel := context.WithCancelCause(c.ctx)
		cancel(errTooLate)
		c.verbs(dead, d, "extend", "nack", "dead-letter", "ack")
		_, err := one(c.Receive(dead, c.lease, 1))
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
			c.ctx, c.lease/4, errTooLate)
		defer cancel()
		c.note("publish m2", c.Publish(ctx, newMessage(1, 2)))
		c.verbs(c.ctx, d, "ack")
		c.note("publish m3", c.Publish(c.ctx, newMessage(1, 3)))
		c.verbs(c.ctx, c.receive(1), "ack")
	}, []string{
		"publish m2: too late", "ack #1: ok", "publish m3: ok",
		"receive m3 #1: ok", "ack #1: ok",
	}},
	{"closed, but not all is settled", func(c *contractCase, d *Delivery) {
		c.Close()
		c.receive(0.25)
		c.verbs(c.ctx, d, "ack")
		c.receive(0.25)
	}, []string{
		"receive: no message yet", "ack #1: ok",
		"receive: closed and empty",
	}},
}

// playContract plays one case of the contract on an empty queue with room for
// one message. It reports the first call that returns something other than
// expected.
func playContract(t *testing.T, i int, q queue, lease time.Duration) {
	t.Helper()
	c := &contractCase{queue: q, ctx: t.Context(), lease: lease}
	require.NoError(t, q.Publish(c.ctx, newMessage(1, 1)))
	first, err := one(q.Receive(c.ctx, lease, 1))
	require.NoError(t, err)
	contract[i].play(c, first)
	for k, want := range contract[i].want {
		got := "nothing"
		if k < len(c.returned) {
			got = c.returned[k]
		}
		if got != want {
			t.Fatalf("want %s\ngot  %s", want, got)
		}
	}
	assert.Len(t, c.returned, len(contract[i].want), "calls")
}

// TestContract plays the contract with JetStream, in real time.
// TestFix06Contract plays it with the teaching broker, which stands in for
// JetStream in the other tests, in virtual time. Both return the same.
func TestContract(t *testing.T) {
	t.Parallel()
	const lease = 1500 * time.Millisecond
	for i, tt := range contract {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			playContract(t, i, jetBrokerFor(t, lease, 1), lease)
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
