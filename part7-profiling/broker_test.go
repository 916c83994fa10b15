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
// delivery, on a lease of a second.
func TestBroker(t *testing.T) {
	ctx, dead := context.Background(), deadContext()
	tests := []struct {
		name string
		play func(b *broker, first *Delivery)
		want []string
	}{
		{"a lease ends on the dot", func(b *broker, first *Delivery) {
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
		{"a lost lease can't be had back, but an ack counts",
			func(b *broker, first *Delivery) {
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
		{"nor by two consumers", func(b *broker, first *Delivery) {
			second, _ := one(b.Receive(ctx, forever, 1))
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
		{"a nack has a delay, and is final", func(b *broker, first *Delivery) {
			first.Nack(ctx, 3*time.Second)
			first.Extend(ctx)
			first.Nack(ctx, 0)
			first.DeadLetter(ctx, errTooLate)
			first.Ack(ctx)
			second, _ := one(b.Receive(ctx, forever, 1))
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
		{"a late ack beats a delay", func(b *broker, first *Delivery) {
			second, _ := one(b.Receive(ctx, forever, 1))
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
		{"a dead letter has its reason", func(b *broker, first *Delivery) {
			first.DeadLetter(ctx, errors.New("no such host"))
			first.DeadLetter(ctx, errors.New("no such host"))
		}, []string{
			"0s: delivered #1",
			"0s: dead-lettered #1: no such host",
			"0s: dead-letter refused #1: already settled",
		}},
		{"a dead context gets nowhere", func(b *broker, first *Delivery) {
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
		{"a slow verb counts on arrival", func(b *broker, first *Delivery) {
			b.slow = map[string]time.Duration{
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
		{"a verb fails, or does its work anyway",
			func(b *broker, first *Delivery) {
				did := false
				b.fail = func(verb, id string) (bool, error) {
					return did, errors.New(verb + " " + id + " failed")
				}
				assert.EqualError(t, first.Extend(ctx), "extend m1 failed")
				assert.EqualError(t, first.Ack(ctx), "ack m1 failed")
				did = true
				time.Sleep(500 * time.Millisecond)
				assert.EqualError(t, first.Extend(ctx), "extend m1 failed")
				time.Sleep(800 * time.Millisecond) // the lease is extended
				assert.EqualError(t, first.Ack(ctx), "ack m1 failed")
				assert.ErrorIs(t, first.Ack(ctx), errSettled)
			}, []string{
				"0s: delivered #1",
				"0s: extend refused #1: extend m1 failed",
				"0s: ack refused #1: ack m1 failed",
				"500ms: extended #1",
				"1.3s: acked #1",
				"1.3s: ack refused #1: already settled",
			}},
		{"a slow verb can be called off", func(b *broker, first *Delivery) {
			b.slow = map[string]time.Duration{
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
				s := newScene(t.Output(), 1)
				b := newBroker(s.log, time.Second, 1)
				require.NoError(t, publish(t.Context(), b, s.seed, 1, 0))
				first, err := one(b.Receive(t.Context(), forever, 1))
				require.NoError(t, err)
				tt.play(b, first)
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
			first, err = one(b.Receive(ctx, forever, 1))
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
		_, err := one(b.Receive(dead, forever, 1))
		assert.ErrorIs(t, err, errTooLate)
		second, err := one(b.Receive(ctx, forever, 1))
		require.NoError(t, err)
		assert.Equal(t, newMessage(1, 2), second.Message)

		brief, cancel := context.WithTimeoutCause(ctx, time.Second, errTooLate)
		defer cancel()
		_, err = one(b.Receive(brief, forever, 1))
		assert.ErrorIs(t, err, errTooLate)
		assert.ErrorIs(t, b.Publish(brief, newMessage(1, 3)), errTooLate)
		assert.Equal(t, 6*time.Second, time.Since(start))
		require.NoError(t, second.Ack(ctx))
		assert.ErrorIs(t, b.Publish(dead, newMessage(1, 3)), errTooLate)
		assertNothingLost(t, b)
	})
}

// The broker waits for a message no longer than it is asked to.
func TestBrokerWaits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, start := quietBroker(time.Minute, 1), time.Now()
		_, err := one(b.Receive(t.Context(), 3*time.Second, 1))
		assert.ErrorIs(t, err, errNothing)
		assert.Equal(t, 3*time.Second, time.Since(start))

		time.AfterFunc(time.Second, func() {
			b.Publish(t.Context(), newMessage(1, 1))
		})
		d, err := one(b.Receive(t.Context(), 3*time.Second, 1))
		require.NoError(t, err)
		assert.Equal(t, 4*time.Second, time.Since(start))
		assert.Equal(t, 3*time.Second, d.Asked.Sub(start), "asked")
		require.NoError(t, d.Ack(t.Context()))
	})
}

// A Receive that is cancelled while the message is on its way loses it, and so
// does one that fails when the broker has handed it out. Both messages are
// delivered again when the lease has ended.
func TestBrokerLosesWhatNobodyReceives(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(time.Second, 1)
		b.slow = map[string]time.Duration{"receive": 200 * time.Millisecond}
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		ctx, cancel := context.WithTimeoutCause(
			t.Context(), 100*time.Millisecond, errTooLate)
		defer cancel()
		_, err := one(b.Receive(ctx, forever, 1))
		assert.ErrorIs(t, err, errTooLate)

		time.Sleep(time.Second)
		b.fail = func(string, string) (bool, error) { return true, errTooLate }
		_, err = one(b.Receive(t.Context(), forever, 1))
		assert.ErrorIs(t, err, errTooLate)
		b.fail = func(string, string) (bool, error) { return false, errTooLate }
		_, err = one(b.Receive(t.Context(), forever, 1))
		assert.ErrorIs(t, err, errTooLate)

		b.fail = nil
		third, err := one(b.Receive(t.Context(), forever, 1))
		require.NoError(t, err)
		require.NoError(t, third.Ack(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"1s: expired #1",
			"1.1s: delivered #2",
			"2.1s: expired #2",
			"2.1s: delivered #3",
			"2.3s: acked #3",
		}, b.story("m1"))
	})
}

// What is settled leaves nothing behind: no timer of its lease or its delay.
func TestBrokerStopsTimers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, ctx := quietBroker(time.Second, 3), t.Context()
		require.NoError(t, publish(ctx, b, 1, 3, 0))
		var timers []*time.Timer
		for _, settle := range []func(d *Delivery) error{
			func(d *Delivery) error { return d.Ack(ctx) },
			func(d *Delivery) error { return d.DeadLetter(ctx, errTooLate) },
			func(d *Delivery) error { // a late ack, while another waits
				time.Sleep(1500 * time.Millisecond)
				again, err := one(b.Receive(ctx, forever, 1))
				require.NoError(t, err)
				require.NoError(t, again.Nack(ctx, time.Hour))
				return d.Ack(ctx)
			},
		} {
			d, err := one(b.Receive(ctx, forever, 1))
			require.NoError(t, err)
			require.NoError(t, settle(d))
			timers = append(timers, d.verbs.(*lent).of.timer)
		}
		for _, timer := range timers {
			assert.False(t, timer.Stop(), "the timer still runs")
		}
		assert.Equal(t, [5]int{acked: 2, deadLettered: 1}, b.states())
	})
}

// A consumer that waits for a message hears of the close at once.
func TestBrokerCloseWakes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, start := quietBroker(time.Second, 1), time.Now()
		time.AfterFunc(time.Second, b.Close)
		_, err := one(b.Receive(t.Context(), time.Minute, 1))
		assert.ErrorIs(t, err, errClosed)
		assert.Equal(t, time.Second, time.Since(start), "Receive took")
	})
}

// A closed broker is at its end when every message is settled, not before: one
// that a consumer has may come back.
func TestBrokerClose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		_, err := one(b.Receive(t.Context(), forever, 1))
		require.NoError(t, err)
		again, err := one(b.Receive(t.Context(), forever, 1))
		require.NoError(t, err)
		assert.Equal(t, 2, again.Attempt)
		time.AfterFunc(time.Second/2, func() { again.Ack(t.Context()) })
		_, err = one(b.Receive(t.Context(), forever, 1))
		assert.ErrorIs(t, err, errClosed)
		assert.Equal(t, "1.5s: acked #2", b.story("m1")[3])
		_, err = one(b.Receive(t.Context(), forever, 1))
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
						d, err := one(b.Receive(ctx, forever, 1))
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
			for _, e := range b.events() {
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
			assert.Zero(t, b.holds(), "held")
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
	assert.Equal(t, b.count("published"), b.count("acked")+
		b.count("dead-lettered")+b.held(), "published")
	assert.Equal(t, b.count("acked"), b.is[acked], "acked")
	assert.Equal(t, b.count("dead-lettered"), b.is[deadLettered],
		"dead letters")
}

func deadContext() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errTooLate)
	return ctx
}
