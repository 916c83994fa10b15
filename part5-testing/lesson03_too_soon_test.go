package main

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An ackOnReceipt is a queue that acks each message that it receives, as some
// client libraries do unless they are told otherwise.
type ackOnReceipt struct{ queue }

// Receive implements queue.
func (q ackOnReceipt) Receive(
	ctx context.Context, wait time.Duration,
) (*Delivery, error) {
	d, err := q.queue.Receive(ctx, wait)
	if err == nil {
		err = d.Ack(ctx)
	}
	return d, err
}

// restarter returns the service on a broker. It may have the bug of this
// lesson.
func restarter(t *testing.T, b *broker, restart workFunc) *Mandrill {
	return newMandrill(b, func(m *Mandrill) {
		m.restart = restart
		if hasBug(t, "acksOnReceipt") {
			m.queue = ackOnReceipt{b}
		}
	})
}

// TestMistake03AtOnce is the first mistake. It looks for the restart as soon as
// the message is published.
func TestMistake03AtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, b := newScene(io.Discard, 1), quietBroker(10*time.Second, 1)
		m := restarter(t, b, s.work("restarted", time.Second))
		startService(t, m)

		publishOnly(t, b, 1)

		assert.Equal(t, 1, s.count("restarted"), "restarted")
	})
}

// TestFix03Waits is the fix. It lets the restart take its second, and then
// waits until nothing can go on without the clock.
func TestFix03Waits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, b := newScene(io.Discard, 1), quietBroker(10*time.Second, 1)
		m := restarter(t, b, s.work("restarted", time.Second))
		startService(t, m)

		publishOnly(t, b, 1)

		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, 1, s.count("restarted"), "restarted")
	})
}

// TestMistake03InNoTime is the second mistake. Its restart takes no time, so
// the restart and the ack happen in the same instant.
func TestMistake03InNoTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, b := newScene(t.Output(), 1), quietBroker(10*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))

		err := restarter(t, b, s.work("restarted", 0)).Run(t.Context())

		require.NoError(t, err)
		assert.Equal(t, 1, s.count("restarted"), "restarted")
		assert.Equal(t, 1, b.count("acked"), "acked")
	})
}

// TestFix03TakesItsTime is the fix. Its restart takes three seconds, and the
// ack has to come after them.
func TestFix03TakesItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, b := newScene(t.Output(), 1), quietBroker(10*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))

		err := restarter(t, b, s.work("restarted", 3*time.Second)).
			Run(t.Context())

		require.NoError(t, err)
		assert.Equal(t, 1, s.count("restarted"), "restarted")
		assert.Equal(t, "3s: acked #1", b.story("m1")[1])
	})
}

func TestLesson03TooSoon(t *testing.T) {
	playTests(t, lesson03, []testRun{
		{"mistake: nothing has happened yet", "mistake", 0,
			verdict{"red: TestMistake03AtOnce, without a bug", true}},
		{"fix: it waits", "fix", 0, verdict{"green: TestFix03Waits", false}},
		{"mistake: an ack before the restart passes", "mistake", 1,
			verdict{"green: TestMistake03InNoTime, in spite of the bug", true}},
		{"fix: an ack before the restart is found", "fix", 1,
			verdict{"red: TestFix03TakesItsTime, because of the bug", false}},
		{"fix: an ack after it is right", "fix", 2,
			verdict{"green: TestFix03TakesItsTime", false}},
	})
}
