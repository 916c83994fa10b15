package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newMandrill returns a service on a broker. Its work is done at once, unless
// set says otherwise.
func newMandrill(b *broker, set func(m *Mandrill)) *Mandrill {
	m := &Mandrill{
		queue: b, lease: b.lease, save: nothing, restart: nothing, slots: 1,
	}
	set(m)
	m.setDefaults()
	return m
}

// publishOnly publishes messages m1 to mn, and leaves the queue open.
func publishOnly(t *testing.T, b *broker, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, b.Publish(t.Context(), newMessage(1, i+1)))
	}
}

// handleAsService has the service handle a delivery.
func handleAsService(ctx context.Context, d *Delivery, restart workFunc) {
	b := d.verbs.(*lent).broker
	m := newMandrill(b, func(m *Mandrill) { m.restart = restart })
	m.handle(ctx, d)
}

// pullAsService has the service pull and handle, eight messages at a time.
func pullAsService(ctx context.Context, b *broker, restart workFunc) {
	m := newMandrill(b, func(m *Mandrill) { m.slots, m.restart = 8, restart })
	m.Run(ctx)
}

// nothing is work that is done at once.
func nothing(context.Context, Message) error { return nil }

// quietBroker returns a broker that does not log.
func quietBroker(lease time.Duration, room int) *broker {
	return newBroker(slog.New(slog.DiscardHandler), lease, room)
}
