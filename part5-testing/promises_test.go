package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The suite of lesson 5's fix: nine promises of the service, from parts 1 to 4.
// Each test asserts the promise itself: when something happens, how often, or
// which messages are named.

// onBroker runs f in virtual time, with a broker that has messages m1 to mn and
// leases of two seconds.
func onBroker(t *testing.T, n int, f func(t *testing.T, b *broker)) {
	t.Helper()
	inBubble(t, func(t *testing.T) {
		b := quietBroker(2*time.Second, n)
		publishOnly(t, b, n)
		f(t, b)
	})
}

// story returns what the broker has done with m1, in one line.
func story(b *broker) string { return strings.Join(b.story("m1"), ", ") }

// TestFix05SlotThenMessage checks that the second message stays in the broker
// while the only slot is taken (lesson 1.8).
func TestFix05SlotThenMessage(t *testing.T) {
	onBroker(t, 2, func(t *testing.T, b *broker) {
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = takes(5 * time.Second)
		})
		require.NoError(t, runUntil(t, m, 6*time.Second))
		assert.Equal(t, "5s: delivered #1", b.story("m2")[0])
	})
}

// TestFix05BeginsNothing checks that a message that arrives after the signal is
// given back, and not begun (lesson 2.3).
func TestFix05BeginsNothing(t *testing.T) {
	onBroker(t, 1, func(t *testing.T, b *broker) {
		begun := false
		m := newMandrill(b, func(m *Mandrill) {
			m.queue = queueFunc(func(
				_ context.Context, wait time.Duration,
			) (*Delivery, error) {
				time.Sleep(500 * time.Millisecond)
				return b.Receive(context.Background(), wait)
			})
			m.restart = func(context.Context, Message) error {
				begun = true
				return nil
			}
		})
		require.NoError(t, runUntil(t, m, 250*time.Millisecond))
		assert.False(t, begun, "a restart begins")
		assert.Equal(t, "500ms: delivered #1, 500ms: nacked #1", story(b))
	})
}

// TestFix05GivesBack checks that work which is cancelled at the drain deadline
// is given back, in a context that has not ended (lesson 2.4).
func TestFix05GivesBack(t *testing.T) {
	onBroker(t, 1, func(t *testing.T, b *broker) {
		m := newMandrill(b, func(m *Mandrill) {
			m.restart, m.drain = takes(time.Minute), 500*time.Millisecond
		})
		err := runUntil(t, m, 250*time.Millisecond)
		assert.Equal(t, "0s: delivered #1, 750ms: nacked #1", story(b))
		assert.Equal(t, 3, status(err), "exit status")
		time.Sleep(b.lease) // for what Run may have abandoned
	})
}

// TestFix05NamesWhatIsInDoubt checks that a shutdown names a message whose ack
// got no answer (lesson 2.6).
func TestFix05NamesWhatIsInDoubt(t *testing.T) {
	onBroker(t, 1, func(t *testing.T, b *broker) {
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "ack" {
				return false, errUnreachable
			}
			return false, nil
		}
		m := newMandrill(b, func(m *Mandrill) {})
		log := logTo(m)
		assertAbandoned(t, runUntil(t, m, time.Second), "m1")
		assert.Equal(t, 1, log.count("msg=abandoning ids=[m1]"), "in the log")
	})
}

// TestFix05ContainsPanics checks that a panic fails one delivery, and the
// process goes on (lesson 3.4).
func TestFix05ContainsPanics(t *testing.T) {
	onBroker(t, 1, func(t *testing.T, b *broker) {
		calls := 0
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = func(context.Context, Message) error {
				if calls++; calls == 1 {
					panic("on purpose")
				}
				return nil
			}
		})
		require.NoError(t, runUntil(t, m, time.Minute))
		assert.Equal(t, 2, calls, "calls")
		assert.Equal(t, 1, b.count("acked"), "acked")
	})
}

// TestFix05PausesGrow checks that the pause after a failure doubles, up to a
// minute. A random part is taken off it, at most half (lesson 3.3).
func TestFix05PausesGrow(t *testing.T) {
	onBroker(t, 1, func(t *testing.T, b *broker) {
		m := newMandrill(b, func(m *Mandrill) { m.restart = refused })
		require.NoError(t, runUntil(t, m, 8*time.Minute))
		var last time.Duration
		for _, e := range b.events() {
			if e.What != "delivered" {
				continue
			}
			if n := e.Attempt; n > 1 {
				longest := time.Second << (n - 2)
				longest = min(longest, time.Minute)
				require.LessOrEqual(t, e.At-last, longest, "pause %d", n-1)
				require.GreaterOrEqual(t, e.At-last, longest/2, "pause %d", n-1)
			}
			last = e.At
		}
		assert.Equal(t, 1, b.count("dead-lettered"), "dead letters")
	})
}

// TestFix05WorkEndsWithItsLease checks that the work ends in the instant in
// which its lease does, by our own clock. A lease counts from when we send the
// request, so an extension that takes 400ms gives us 400ms less (lesson 3.6).
func TestFix05WorkEndsWithItsLease(t *testing.T) {
	for _, tt := range []struct {
		name  string
		works int // how many extensions succeed
		want  time.Duration
	}{
		{"never extended", 0, 2 * time.Second},
		{"extended once, at 0.8s", 1, 2800 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onBroker(t, 1, func(t *testing.T, b *broker) {
				b.slow = map[string]time.Duration{
					"extend": 400 * time.Millisecond,
				}
				calls := 0
				b.fail = func(verb, _ string) (bool, error) {
					if verb != "extend" {
						return false, nil
					}
					if calls++; calls <= tt.works {
						return false, nil
					}
					return false, errUnreachable
				}
				var ended time.Duration
				begun := time.Now()
				m := newMandrill(b, func(m *Mandrill) {
					m.restart = func(ctx context.Context, _ Message) error {
						<-ctx.Done()
						ended = time.Since(begun)
						return context.Cause(ctx)
					}
				})
				runUntil(t, m, 1900*time.Millisecond)
				assert.Equal(t, tt.want, ended, "the work ended")
			})
		})
	}
}

// TestFix05BoundsDeliveries checks that a message that is given back again and
// again becomes a dead letter (lesson 4.7).
func TestFix05BoundsDeliveries(t *testing.T) {
	onBroker(t, 1, func(t *testing.T, b *broker) {
		calls := 0
		m := newMandrill(b, func(m *Mandrill) {
			m.maxDeliveries = 3
			m.restart = func(context.Context, Message) error {
				if calls++; calls > 10 {
					return nil // or it would never end
				}
				return errDrainDeadline
			}
		})
		require.NoError(t, runUntil(t, m, time.Minute))
		assert.Equal(t, 3, calls, "calls")
		assert.Equal(t, 1, b.count("dead-lettered"), "dead letters")
	})
}

// TestFix05WaitsForItsPoll checks that a poll in progress is not cancelled. We
// receive what the broker has handed out, and give it back (lesson 2.4).
func TestFix05WaitsForItsPoll(t *testing.T) {
	onBroker(t, 1, func(t *testing.T, b *broker) {
		b.slow = map[string]time.Duration{"receive": 500 * time.Millisecond}
		m := newMandrill(b, func(m *Mandrill) {})
		require.NoError(t, runUntil(t, m, 250*time.Millisecond))
		assert.Equal(t, "0s: delivered #1, 500ms: nacked #1", story(b))
	})
}
