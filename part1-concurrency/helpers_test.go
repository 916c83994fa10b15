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

// nothing is work that is done at once.
func nothing(context.Context, Message) error { return nil }

// quietBroker returns a broker that does not log.
func quietBroker(lease time.Duration, room int) *broker {
	return newBroker(slog.New(slog.DiscardHandler), lease, room)
}
