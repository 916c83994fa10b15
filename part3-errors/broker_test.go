package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errTooLate = errors.New("too late")

// What a broker does with one message, to the nanosecond. A play gets the first
// delivery; the lease is a second.
func TestBroker(t *testing.T) {
	ctx, dead := context.Background(), deadContext()
	tests := []struct {
		name string
		play func(first *Delivery)
		want []string
	}{
		{"a lease ends on the dot", func(first *Delivery) {
			time.Sleep(time.Second - 1)
			first.Extend(ctx)
			time.Sleep(time.Second - 1)
			first.Extend(ctx)
			time.Sleep(time.Second)
			synctest.Wait() // its timer is due in this very instant
			first.Extend(ctx)
		}, []string{
			"0s: delivered #1",
			"999.999999ms: extended #1",
			"1.999999998s: extended #1",
			"2.999999998s: expired #1",
			"2.999999998s: extend refused #1: lease lost",
		}},
		{"who lost the lease can't touch it, but an ack counts",
			func(first *Delivery) {
				time.Sleep(1500 * time.Millisecond)
				first.Extend(ctx)
				first.Nack(ctx, 0)
				first.DeadLetter(ctx, errTooLate)
				first.Ack(ctx)
				first.Ack(ctx)
			}, []string{
				"0s: delivered #1",
				"1s: expired #1",
				"1.5s: extend refused #1: lease lost",
				"1.5s: nack refused #1: lease lost",
				"1.5s: dead-letter refused #1: lease lost",
				"1.5s: acked #1",
				"1.5s: ack refused #1: already settled",
			}},
		{"nor when somebody else has it", func(first *Delivery) {
			second, _ := first.broker.Receive(ctx)
			time.Sleep(500 * time.Millisecond)
			first.Extend(ctx)
			first.Nack(ctx, 0)
			first.DeadLetter(ctx, errTooLate)
			second.Extend(ctx)
			first.Ack(ctx)
			second.Extend(ctx)
			second.Ack(ctx)
			time.Sleep(2 * time.Second) // nothing expires any more
		}, []string{
			"0s: delivered #1",
			"1s: expired #1",
			"1s: delivered #2",
			"1.5s: extend refused #1: lease lost",
			"1.5s: nack refused #1: lease lost",
			"1.5s: dead-letter refused #1: lease lost",
			"1.5s: extended #2",
			"1.5s: acked #1",
			"1.5s: extend refused #2: already settled",
			"1.5s: ack refused #2: already settled",
		}},
		{"a nack counts its delay, and is final", func(first *Delivery) {
			first.Nack(ctx, 3*time.Second)
			first.Extend(ctx)
			first.Nack(ctx, 0)
			first.DeadLetter(ctx, errTooLate)
			first.Ack(ctx)
			second, _ := first.broker.Receive(ctx)
			first.Extend(ctx)
			first.Ack(ctx)
			second.Ack(ctx)
		}, []string{
			"0s: delivered #1",
			"0s: nacked #1",
			"0s: extend refused #1: already settled",
			"0s: nack refused #1: already settled",
			"0s: dead-letter refused #1: already settled",
			"0s: ack refused #1: already settled",
			"3s: delivered #2",
			"3s: extend refused #1: already settled",
			"3s: ack refused #1: already settled",
			"3s: acked #2",
		}},
		{"a late ack is faster than a nack's delay", func(first *Delivery) {
			second, _ := first.broker.Receive(ctx)
			second.Nack(ctx, 3*time.Second)
			first.Ack(ctx)
			time.Sleep(5 * time.Second) // it does not come back
		}, []string{
			"0s: delivered #1",
			"1s: expired #1",
			"1s: delivered #2",
			"1s: nacked #2",
			"1s: acked #1",
		}},
		{"a dead letter has its reason", func(first *Delivery) {
			first.DeadLetter(ctx, errors.New("no such host"))
			first.DeadLetter(ctx, errors.New("no such host"))
		}, []string{
			"0s: delivered #1",
			"0s: dead-lettered #1: no such host",
			"0s: dead-letter refused #1: already settled",
		}},
		{"a dead context gets nowhere", func(first *Delivery) {
			first.Extend(dead)
			first.Nack(dead, 0)
			first.DeadLetter(dead, errors.New("no such host"))
			first.Ack(dead)
		}, []string{
			"0s: delivered #1",
			"0s: extend refused #1: too late",
			"0s: nack refused #1: too late",
			"0s: dead-letter refused #1: too late",
			"0s: ack refused #1: too late",
		}},
		{"a slow verb counts when it arrives", func(first *Delivery) {
			first.broker.slow = map[string]time.Duration{
				"extend": 600 * time.Millisecond,
				"ack":    1500 * time.Millisecond,
			}
			first.Extend(ctx)
			first.Ack(ctx)
		}, []string{
			"0s: delivered #1",
			"600ms: extended #1",
			"1.6s: expired #1",
			"2.1s: acked #1",
		}},
		{"a slow verb can be called off", func(first *Delivery) {
			first.broker.slow = map[string]time.Duration{
				"ack": 600 * time.Millisecond,
			}
			ctx, cancel := context.WithTimeoutCause(
				ctx, 500*time.Millisecond, errTooLate)
			defer cancel()
			first.Ack(ctx)
		}, []string{
			"0s: delivered #1",
			"500ms: ack refused #1: too late",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newStage(t.Output(), 1)
				b := newBroker(s.log, time.Second, 1)
				require.NoError(t, publish(t.Context(), b, s.seed, 1, 0))
				first, err := b.Receive(t.Context())
				require.NoError(t, err)
				tt.play(first)
				synctest.Wait()
				assert.Equal(t, tt.want, b.story("m1"))
				assertNothingLost(t, b)
			})
		})
	}
}

// Publish waits for room, Receive for a message. A context that has ended stops
// both, even if they need not wait.
func TestBrokerBlocks(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(time.Minute, 1)
		start, ctx := time.Now(), t.Context()
		var first *Delivery
		var wg sync.WaitGroup
		wg.Go(func() {
			var err error
			first, err = b.Receive(ctx)
			assert.NoError(t, err)
			assert.Equal(t, 2*time.Second, time.Since(start))
			time.Sleep(3 * time.Second)
			assert.NoError(t, first.Ack(ctx))
		})
		time.Sleep(2 * time.Second)
		assert.NoError(t, b.Publish(ctx, newMessage(1, 1)))
		assert.NoError(t, b.Publish(ctx, newMessage(1, 2)))
		assert.Equal(t, 5*time.Second, time.Since(start))
		wg.Wait()

		dead := deadContext()
		_, err := b.Receive(dead)
		assert.ErrorIs(t, err, errTooLate)
		second, err := b.Receive(ctx)
		require.NoError(t, err)
		assert.Equal(t, newMessage(1, 2), second.Message)

		brief, cancel := context.WithTimeoutCause(ctx, time.Second, errTooLate)
		defer cancel()
		_, err = b.Receive(brief)
		assert.ErrorIs(t, err, errTooLate)
		assert.ErrorIs(t, b.Publish(brief, newMessage(1, 3)), errTooLate)
		assert.Equal(t, 6*time.Second, time.Since(start))
		require.NoError(t, second.Ack(ctx))
		assert.ErrorIs(t, b.Publish(dead, newMessage(1, 3)), errTooLate)
		assertNothingLost(t, b)
	})
}

// A message that was on its way when the context ended arrives all the same:
// the broker has handed it out.
func TestBrokerReceivesWhatIsOnItsWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(time.Second, 1)
		b.slow = map[string]time.Duration{"receive": 200 * time.Millisecond}
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		ctx, cancel := context.WithTimeoutCause(
			t.Context(), 100*time.Millisecond, errTooLate)
		defer cancel()
		d, err := b.Receive(ctx)
		require.NoError(t, err)
		assert.ErrorIs(t, d.Nack(ctx, 0), errTooLate)
		assert.Equal(t, []string{
			"0s: delivered #1",
			"200ms: nack refused #1: too late",
		}, b.story("m1"))
		require.NoError(t, d.Ack(t.Context()))
	})
}

// A closed broker is at its end when every message is settled, not before: what
// somebody has may come back.
func TestBrokerClose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		_, err := b.Receive(t.Context())
		require.NoError(t, err)
		again, err := b.Receive(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2, again.Attempt)
		time.AfterFunc(time.Second/2, func() { again.Ack(t.Context()) })
		_, err = b.Receive(t.Context())
		assert.ErrorIs(t, err, errClosed)
		assert.Equal(t, "1.5s: acked #2", b.story("m1")[3])
		_, err = b.Receive(t.Context())
		assert.ErrorIs(t, err, errClosed)
	})
}

// Whatever is done to messages, at any moment each of them is acked, a dead
// letter, or held; in the end none is held; and none is settled twice.
func TestBrokerLosesNothing(t *testing.T) {
	happened := make(map[string]int)
	for seed := range uint64(200) {
		inBubble(t, func(t *testing.T) {
			b, ctx := quietBroker(time.Second, 4), t.Context()
			b.slow = map[string]time.Duration{"ack": 100 * time.Millisecond}
			var workers sync.WaitGroup
			for worker := range 6 {
				draw := random(seed, "worker", fmt.Sprint(worker))
				workers.Go(func() {
					for {
						d, err := b.Receive(ctx)
						if err != nil {
							return
						}
						for range draw.IntN(4) {
							time.Sleep(time.Duration(draw.IntN(1500)) *
								time.Millisecond)
							switch draw.IntN(5) {
							case 0:
								d.Extend(ctx)
							case 1:
								d.Nack(ctx, time.Second/2)
							case 2:
								d.DeadLetter(ctx, errTooLate)
							case 3:
								d.Ack(ctx)
							case 4:
								d.Ack(deadContext())
							}
							assertNothingLost(t, b)
						}
					}
				})
			}
			require.NoError(t, publish(ctx, b, seed, 20, time.Second/2))
			workers.Wait()

			settled := make(map[string]int)
			for _, e := range b.record {
				name := e.What
				if e.Reason != nil {
					name += ": " + e.Reason.Error()
				}
				happened[name]++
				switch e.What {
				case "acked", "dead-lettered":
					settled[e.ID]++
				case "delivered", "expired":
					assert.Zero(t, settled[e.ID], "%v", e)
				}
			}
			assert.Len(t, settled, 20)
			for id, n := range settled {
				assert.Equal(t, 1, n, id)
			}
			assert.Zero(t, b.held)
			assert.Empty(t, b.ready)
		})
		require.False(t, t.Failed(), "seed %d", seed)
	}
	t.Log(happened)
	for _, name := range []string{
		"published", "delivered", "expired", "extended", "acked", "nacked",
		"dead-lettered: too late", "ack refused: too late",
		"extend refused: lease lost", "extend refused: already settled",
		"nack refused: lease lost", "nack refused: already settled",
		"dead-letter refused: lease lost",
		"dead-letter refused: already settled", "ack refused: already settled",
	} {
		assert.Greater(t, happened[name], 20, name)
	}
}

// assertNothingLost checks the broker's books, in one look.
func assertNothingLost(t *testing.T, b *broker) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	books := make(map[string]int)
	for _, e := range b.record {
		books[e.What]++
	}
	assert.Equal(t, books["published"],
		books["acked"]+books["dead-lettered"]+b.held)
	for _, h := range b.ready {
		assert.False(t, h.settled, h.ID)
	}
}

func deadContext() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errTooLate)
	return ctx
}
