package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Each stage of a shutdown, to the instant. The signal comes after a second. A
// drain takes two seconds here, the grace one.
func TestMandrillStops(t *testing.T) {
	const sec = time.Second
	extended := []string{
		"0s: delivered #1",
		"800ms: extended #1",
		"1.6s: extended #1",
		"2.4s: extended #1",
	}
	tests := []struct {
		name       string
		restart    workFunc
		wantStatus int
		wantTook   time.Duration
		wantLast   []string // of the broker's record
		wantLeft   int      // goroutines
	}{
		{"what ends in time is acked", ignoring(2500 * time.Millisecond),
			0, 2500 * time.Millisecond, []string{"2.5s: acked #1"}, 0},
		{"what takes longer is cancelled and given back", takes(time.Minute),
			3, 3 * sec, []string{"3s: nacked #1"}, 0},
		{"what ignores that is abandoned by name", ignoring(10 * sec),
			1, 4 * sec, nil, 2}, // the restart, and the handler that waits
		{"what is done in spite of the cancel is acked",
			ignoring(3500 * time.Millisecond),
			3, 3500 * time.Millisecond, []string{"3.5s: acked #1"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				b := newBroker(s.log, 2*sec, 1)
				publishOnly(t, b, 1)
				m := newMandrill(b, func(m *Mandrill) {
					m.restart = tt.restart
					m.slots, m.drain, m.grace = 4, 2*sec, 1*sec
				})
				err := runUntil(t, m, sec)
				assert.Equal(t, tt.wantTook, time.Since(s.start), "Run took")
				assert.Equal(t, tt.wantStatus, status(err), "exit status")
				if tt.wantStatus == 1 {
					assertAbandoned(t, err, "m1")
				}
				assert.Equal(t, append(extended, tt.wantLast...),
					b.story("m1"))
				left := 0
				for _, n := range leaked(t, ignore) {
					left += n
				}
				assert.Equal(t, tt.wantLeft, left, "goroutines left")
				time.Sleep(time.Minute)
			})
		})
	}
}

// Run stops on time even if the broker does not answer. The poll in progress is
// not cancelled: what the broker hands out late is given back, unbegun.
func TestMandrillStopsWhileItReceives(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 10*time.Second, 2)
		b.slow = map[string]time.Duration{"receive": 600 * time.Millisecond}
		publishOnly(t, b, 1)
		time.AfterFunc(300*time.Millisecond, func() { // not in the first poll
			b.Publish(t.Context(), newMessage(1, 2))
		})
		m := newMandrill(b, func(m *Mandrill) {
			m.save = s.work("saved", 0)
			m.restart = takes(time.Minute)
			m.slots, m.drain = 2, 100*time.Millisecond
		})
		err := runUntil(t, m, time.Second)
		assert.Equal(t, 3, status(err), "exit status")
		assert.Equal(t, []string{
			"0s: delivered #1",
			"1.1s: nacked #1", // when the drain ends, poll or no poll
		}, b.story("m1"))
		assert.Equal(t, []string{
			"600ms: delivered #1",
			"1.2s: nacked #1", // when it arrives
		}, b.story("m2"))
		assert.Equal(t, 1, s.count("saved"), "begun")
	})
}

// Run does not leave a poll behind, even if the broker takes longer to answer
// than everything else takes to stop.
func TestMandrillWaitsForItsPoll(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
		b := newBroker(s.log, 10*time.Second, 1)
		b.slow = map[string]time.Duration{
			"receive": 5 * time.Second, "nack": 300 * time.Millisecond,
		}
		publishOnly(t, b, 1)
		m := newMandrill(b, func(m *Mandrill) { m.drain = time.Second })
		assert.NoError(t, runUntil(t, m, time.Second/2))
		assert.Equal(t, 5300*time.Millisecond, time.Since(s.start), "Run took")
		assert.Nil(t, leaked(t, ignore), "goroutines left")
		assert.Equal(t, []string{
			"0s: delivered #1",
			"5.3s: nacked #1",
		}, b.story("m1"))
	})
}

// What arrives after the signal is given back with one try, so that a broker
// that fails does not hold up the shutdown. The message has a name then.
func TestMandrillGivesBackOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 10*time.Second, 1)
		b.slow = map[string]time.Duration{"receive": time.Second}
		b.fail = failing("nack", errUnreachable)
		publishOnly(t, b, 1)
		m := newMandrill(b, func(*Mandrill) {})
		assertAbandoned(t, runUntil(t, m, time.Second/2), "m1")
		assert.Equal(t, time.Second, time.Since(s.start), "Run took")
	})
}

// After the signal no message is asked for. (select takes any case that is
// ready: lesson 2.3.)
func TestMandrillAsksForNothingAfterTheSignal(t *testing.T) {
	for range 200 {
		inBubble(t, func(t *testing.T) {
			b := quietBroker(time.Minute, 2)
			publishOnly(t, b, 2)
			asked := 0
			b.fail = func(verb, _ string) (bool, error) {
				if verb == "receive" {
					asked++
				}
				return false, nil
			}
			ctx, stop := context.WithCancelCause(t.Context())
			m := newMandrill(b, func(m *Mandrill) {
				m.restart = func(context.Context, Message) error {
					stop(errStopped) // the slot is free in that instant
					return nil
				}
			})
			assert.NoError(t, m.Run(ctx))
			assert.Equal(t, 1, asked, "messages asked for")
		})
	}
}

// A broker that fails to answer is asked again, after 100ms and then later and
// later. When it has failed for a minute, the service ends.
func TestMandrillReceiveFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		publishOnly(t, b, 1)
		var asked []time.Duration
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "receive" {
				asked = append(asked, time.Since(s.start))
			}
			return false, errUnreachable
		}
		m := newMandrill(b, func(*Mandrill) {})
		log := logTo(m)
		err := m.Run(t.Context())
		assert.ErrorIs(t, err, errUnreachable)
		assert.EqualError(t, err,
			"receive failed for 1m0s: broker out of reach")
		assert.Equal(t, 1, status(err), "exit status")
		assert.Equal(t, time.Minute, time.Since(s.start), "Run took")
		const ms = time.Millisecond
		assert.Equal(t, []time.Duration{0, 100 * ms, 300 * ms, 700 * ms,
			1500 * ms, 3100 * ms, 6300 * ms, 11300 * ms}, asked[:8])
		assert.Equal(t, len(asked)-1,
			log.count(`msg="receive failed"`), "lines")
	})
}

// An outage that is shorter is survived: what was in progress is settled when
// the broker is back, if its lease lasts that long.
func TestMandrillSurvivesAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 2)
		require.NoError(t, publish(t.Context(), b, 1, 2, 0))
		b.fail = func(string, string) (bool, error) {
			since := time.Since(s.start)
			if since > 900*time.Millisecond && since < 2100*time.Millisecond {
				return false, errUnreachable
			}
			return false, nil
		}
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = ignoring(1100 * time.Millisecond)
		})
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"800ms: extended #1",
			"1.1s: ack refused #1: broker out of reach",
			"1.2s: ack refused #1: broker out of reach",
			"1.4s: ack refused #1: broker out of reach",
			"1.8s: ack refused #1: broker out of reach",
			"2.2s: acked #1",
		}, b.story("m1"))
		assert.Equal(t, "2.2s: delivered #1", b.story("m2")[0])
	})
}

// A failed Receive may have handed out a message. It is delivered again.
func TestMandrillReceiveLosesAMessage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		calls := 0
		b.fail = func(verb, _ string) (bool, error) {
			if calls++; calls == 1 {
				return true, errUnreachable
			}
			return false, nil
		}
		m := newMandrill(b, func(*Mandrill) {})
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"2s: expired #1",
			"2s: delivered #2",
			"2s: acked #2",
		}, b.story("m1"))
	})
}

// A broker that never answers a poll is given up on as well: when an answer
// would be worth nothing any more.
func TestMandrillPollHasATimeOut(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		b.slow = map[string]time.Duration{"receive": time.Hour}
		publishOnly(t, b, 1)
		m := newMandrill(b, func(m *Mandrill) { m.giveUp = 3 * time.Second })
		log := logTo(m)
		err := m.Run(t.Context())
		assert.ErrorIs(t, err, errNoAnswer)
		assert.Equal(t, 1, log.count(`msg="receive failed"`), log.text.String())
		assert.Equal(t, 4900*time.Millisecond, time.Since(s.start),
			"two polls of 2.4s, and a pause")
	})
}

// Messages in progress when we give up on the broker still get the drain.
func TestMandrillDrainsWhenItGivesUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 2)
		publishOnly(t, b, 1)
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "receive" && time.Since(s.start) > 0 {
				return false, errUnreachable
			}
			return false, nil
		}
		m := newMandrill(b, func(m *Mandrill) {
			m.slots, m.giveUp = 2, time.Second
			m.restart = takes(5 * time.Second)
		})
		err := m.Run(t.Context())
		assert.ErrorIs(t, err, errUnreachable)
		assert.Equal(t, "5s: acked #1", b.story("m1")[len(b.story("m1"))-1])
	})
}

// A failure outranks a forced stop, and so does an abandoned message.
func TestMandrillFailureOutranksForced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(2*time.Second, 2)
		publishOnly(t, b, 1)
		first := true
		b.fail = func(verb, _ string) (bool, error) {
			if verb != "receive" {
				return false, nil
			} else if first {
				first = false
				return false, nil
			}
			return false, errUnreachable
		}
		m := newMandrill(b, func(m *Mandrill) {
			m.slots, m.giveUp = 2, time.Second
			m.restart = takes(time.Minute)
			m.timeout = time.Hour
		})
		err := m.Run(t.Context())
		assert.ErrorIs(t, err, errUnreachable)
		assert.ErrorIs(t, err, forcedError{})
		assert.Equal(t, 1, status(err), "exit status")
	})
}

// Stopped with nothing in progress, it is not forced, however short the drain.
func TestMandrillNotForcedWhenIdle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(2*time.Second, 1)
		m := newMandrill(b, func(m *Mandrill) { m.drain = 1 })
		assert.NoError(t, runUntil(t, m, 500*time.Millisecond))
	})
}

// The zero value of a time-out is not "at once", and that of slots is not none.
func TestMandrillZeroValues(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, time.Minute, 9)
		publishOnly(t, b, 9)
		m := &Mandrill{
			log: s.log, queue: b, lease: time.Minute, save: nothing,
			restart: s.work("restarted", 9*time.Second),
		}
		err := runUntil(t, m, time.Second)
		assertAbandoned(t, err, "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8")
		assert.Equal(t, 7*time.Second, time.Since(s.start), "1s + 5s + 1s")
		time.Sleep(3 * time.Second)
	})
}

// No extension arrives, and the work takes longer than the lease: each delivery
// restarts half of the host, and none is a failure. The count of deliveries
// ends it.
func TestMandrillBoundsDeliveries(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "extend" {
				return false, errors.New("access denied")
			}
			return false, nil
		}
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		begun := 0
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = func(ctx context.Context, _ Message) error {
				begun++
				return sleep(ctx, 5*time.Second)
			}
		})
		log := logTo(m)
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, 16, begun, "restarts begun")
		story := b.story("m1")
		assert.Equal(t, "32s: dead-lettered #17: delivered too often",
			story[len(story)-1])
		assert.Equal(t, 16, log.count(`msg="lease lost"`), "leases lost")
		assert.Equal(t, 32, log.count(`msg="not extended"`), "extensions")
	})
}

// Work that hangs loses its lease, and another delivery waits for it in vain.
// That counts as a failure, with its pause, so the message becomes a dead
// letter. Its slot is lost, and its name is known.
func TestMandrillHangs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b, hang := newBroker(s.log, 2*time.Second, 2), make(chan struct{})
		require.NoError(t, publish(t.Context(), b, 1, 2, 0))
		done := ledger{db: &memoryDatabase{}}
		m := newMandrill(b, func(m *Mandrill) {
			m.slots, m.maxFailures = 2, 3
			m.restart = done.once("restarted", hanging(nothing, 2, hang))
		})
		err := m.Run(t.Context())
		assertAbandoned(t, err, "m2")
		assert.Equal(t, []string{
			"0s: delivered #1",
			"800ms: extended #1",
			"1.6s: extended #1",
			"2.4s: extended #1",
			"3.2s: extended #1",
			"4s: extended #1",
			"4.8s: extended #1",
			"5.6s: extended #1",
			"6.4s: extended #1",
			"7.2s: extended #1",
			"8s: extended #1",
			"8.8s: extended #1",
			"9.6s: extended #1", // the last one before the time-out, 10s
			"11.6s: expired #1",
			"11.6s: delivered #2",
		}, b.story("m2")[:15])
		story := b.story("m2")
		assert.Contains(t, story[len(story)-1], "dead-lettered #4: "+
			"failed 3 times: timed out: still in progress elsewhere")
		close(hang)
	})
}

// When every slot is held by work that hangs, the service ends with status 1:
// the supervisor can fix that, and the service can't.
func TestMandrillAllHang(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b, hang := newBroker(s.log, 2*time.Second, 3), make(chan struct{})
		publishOnly(t, b, 3)
		m := newMandrill(b, func(m *Mandrill) {
			m.slots, m.restart = 2, hanging(nothing, 1, hang)
		})
		err := m.Run(t.Context())
		assert.ErrorIs(t, err, errAllHang)
		assertAbandoned(t, err, "m1", "m2")
		assert.Equal(t, 1, status(err), "exit status")
		assert.Equal(t, 22*time.Second, time.Since(s.start),
			"the time-out, two leases and graces, the drain and the grace")
		close(hang)
	})
}

// Two replicas share a broker. One falls silent: nothing that it says arrives.
// The other one gets the message when the lease has ended, and the first one
// lets go of it in that very instant.
func TestMandrillReplicaFallsSilent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		r := &replica{queue: b}
		time.AfterFunc(time.Second, func() { r.silent.Store(true) })
		var letGo time.Duration
		first := newMandrill(b, func(m *Mandrill) {
			m.queue = r
			m.restart = func(ctx context.Context, _ Message) error {
				err := sleep(ctx, 5*time.Second)
				letGo = time.Since(s.start)
				return err
			}
		})
		second := newMandrill(b, func(m *Mandrill) {
			m.restart = s.work("restarted", 0)
		})
		ended := make(chan error, 1)
		go func() { ended <- runUntil(t, first, 10*time.Second) }()
		time.Sleep(100 * time.Millisecond) // the first is first
		assert.NoError(t, second.Run(t.Context()))
		assert.NoError(t, <-ended)
		assert.Equal(t, []string{
			"0s: delivered #1",
			"800ms: extended #1",
			"2.8s: expired #1",
			"2.8s: delivered #2",
			"2.8s: acked #2",
		}, b.story("m1"))
		assert.Equal(t, 2800*time.Millisecond, letGo, "the first lets go")
		assert.Equal(t, 1, s.count("restarted"), "restarts")
	})
}

// A message kills every process that handles it. None of them lives to count
// the failure, but the broker counts the deliveries.
func TestMandrillMessageThatKills(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		begun := 0
		for range 20 {
			r := &replica{queue: b}
			ctx, kill := context.WithCancel(t.Context())
			m := newMandrill(b, func(m *Mandrill) {
				m.queue, m.drain, m.grace = r, 1, 2
				m.restart = func(ctx context.Context, _ Message) error {
					begun++
					r.silent.Store(true)
					kill()
					return sleep(ctx, time.Hour)
				}
			})
			if m.Run(ctx) == nil {
				break
			}
			kill()
		}
		assert.Equal(t, 16, begun, "processes killed")
		story := b.story("m1")
		assert.Equal(t, "32s: dead-lettered #17: delivered too often",
			story[len(story)-1])
	})
}

// The lease counts from before the pull, and an extension from before it was
// sent, so that we let go before the broker does.
func TestMandrillLeaseCountsFromBefore(t *testing.T) {
	tests := []struct {
		name  string
		slow  map[string]time.Duration
		fails bool // every extension, not only the later ones
		want  time.Duration
	}{
		{"the pull", map[string]time.Duration{
			"receive": 300 * time.Millisecond,
		}, true, 2 * time.Second},
		{"the extension", map[string]time.Duration{
			"extend": 400 * time.Millisecond, // sent at 0.8s
		}, false, 2800 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				b := newBroker(s.log, 2*time.Second, 1)
				b.slow = tt.slow
				b.fail = func(verb, _ string) (bool, error) {
					if verb == "extend" && (tt.fails ||
						time.Since(s.start) > 1500*time.Millisecond) {
						return false, errUnreachable
					}
					return false, nil
				}
				publishOnly(t, b, 1)
				var ended time.Duration
				var cause error
				m := newMandrill(b, func(m *Mandrill) {
					m.restart = func(ctx context.Context, _ Message) error {
						<-ctx.Done()
						ended, cause = time.Since(s.start), context.Cause(ctx)
						return ctx.Err()
					}
				})
				runUntil(t, m, 1900*time.Millisecond)
				assert.Equal(t, tt.want, ended, "the work ended")
				assert.Equal(t, errLeaseLost, cause, "cause")
			})
		})
	}
}

// A message whose lease has ended on its way to us is not begun. If every
// answer takes that long, the broker is as good as out of reach.
func TestMandrillAnswersTooLate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		b.slow = map[string]time.Duration{"receive": 2 * time.Second}
		publishOnly(t, b, 1)
		m := newMandrill(b, func(m *Mandrill) { m.save = s.work("saved", 0) })
		assert.ErrorIs(t, m.Run(t.Context()), errNoAnswer)
		assert.Zero(t, s.count("saved"), "saves")
	})
}

// An Extend that ignores its context does not hold up anything: the work hears
// of the lost lease in time, and its slot is free again.
func TestMandrillDeafExtend(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 2)
		require.NoError(t, publish(t.Context(), b, 1, 2, 0))
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "extend" && time.Since(s.start) < time.Second {
				time.Sleep(30 * time.Second)
			}
			return false, nil
		}
		var ended []time.Duration
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = func(ctx context.Context, _ Message) error {
				err := sleep(ctx, 3*time.Second)
				ended = append(ended, time.Since(s.start))
				return err
			}
		})
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []time.Duration{2 * time.Second, 5 * time.Second,
			8 * time.Second}, ended)
		time.Sleep(time.Minute)
	})
}

// A client that panics in Extend costs a lease at most.
func TestMandrillExtendPanics(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "extend" {
				panic("no connection")
			}
			return false, nil
		}
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = takes(1500 * time.Millisecond)
		})
		log := logTo(m)
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, 1, log.count(`in="TestMandrillExtendPanics`), "stack")
		assert.Equal(t, []string{"0s: delivered #1", "1.5s: acked #1"},
			b.story("m1"))
	})
}

// A single failed extension does not lose the lease.
func TestMandrillOneExtensionFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		calls := 0
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "extend" {
				if calls++; calls == 2 {
					return false, errUnreachable
				}
			}
			return false, nil
		}
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = takes(3900 * time.Millisecond)
		})
		log := logTo(m)
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"800ms: extended #1",
			"1.6s: extend refused #1: broker out of reach",
			"2.4s: extended #1",
			"3.2s: extended #1",
			"3.9s: acked #1",
		}, b.story("m1"))
		assert.Equal(t, 1, log.count(`msg="not extended"`), "lines")
	})
}

// Work that is done is acked although its lease is lost, once, and that the
// broker refuses it is no failure.
func TestMandrillAcksLate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		b.slow = map[string]time.Duration{"extend": time.Hour}
		time.AfterFunc(100*time.Millisecond, func() {
			publish(t.Context(), b, 1, 1, 0)
		})
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = s.work("restarted", 2500*time.Millisecond)
		})
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"100ms: delivered #1",
			"1.3s: extend refused #1: no answer in time", // sent at 0.8s
			"2s: extend refused #1: lease lost",
			"2.1s: expired #1",
			"2.6s: acked #1",
		}, b.story("m1"))
		assert.Equal(t, 1, s.count("restarted"), "restarts")
	})
}

// A broker that does what it is told, and says that it failed, is asked again
// and answers that the message is settled. So the message is not in doubt.
func TestMandrillAnswerLost(t *testing.T) {
	for verb, tt := range map[string]struct {
		restart workFunc
		want    []string
	}{
		"ack": {nothing, []string{
			"0s: delivered #1",
			"0s: acked #1",
			"100ms: ack refused #1: already settled",
		}},
		"dead-letter": {func(context.Context, Message) error {
			return permanentError{errNoSuchHost}
		}, []string{
			"0s: delivered #1",
			"0s: dead-lettered #1: no such host",
			"100ms: dead-letter refused #1: already settled",
		}},
		"nack": {takes(time.Hour), []string{
			"0s: delivered #1",
			"2s: nacked #1",
			"2.1s: nack refused #1: already settled",
		}},
	} {
		t.Run(verb, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := quietBroker(10*time.Second, 1)
				publishOnly(t, b, 1)
				b.fail = func(v, _ string) (bool, error) {
					if v == verb {
						return true, errUnreachable
					}
					return false, nil
				}
				m := newMandrill(b, func(m *Mandrill) {
					m.restart, m.drain = tt.restart, time.Second
				})
				log := logTo(m)
				err := runUntil(t, m, time.Second)
				assert.NotEqual(t, 1, status(err), "%v", err)
				assert.Equal(t, tt.want, b.story("m1"))
				assert.Equal(t, 1, log.count(`msg="not settled"`), "lines")
			})
		})
	}
}

// An ack that gets no answer is in doubt until its lease is certainly over. A
// shutdown names the message before that. After it, another consumer has acked
// it, and a shutdown has nothing to say.
func TestMandrillDoubts(t *testing.T) {
	for _, tt := range []struct {
		signal time.Duration
		want   []string
	}{
		{3 * time.Second, []string{"m1"}},
		{5 * time.Second, nil},
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := quietBroker(2*time.Second, 1)
				publishOnly(t, b, 1)
				r := &replica{queue: b}
				m := newMandrill(b, func(m *Mandrill) {
					m.queue = r
					m.restart = func(context.Context, Message) error {
						r.silent.Store(true)
						return nil
					}
				})
				time.AfterFunc(time.Millisecond, func() {
					again, err := one(b.Receive(t.Context(), forever, 1))
					assert.NoError(t, err)
					assert.NoError(t, again.Ack(t.Context()))
				})
				err := runUntil(t, m, tt.signal)
				if tt.want == nil {
					assert.NoError(t, err)
				} else {
					assertAbandoned(t, err, tt.want...)
				}
			})
		})
	}
}

// A delivery in doubt ends with its lease, or when the message is delivered
// again. The end of one delivery touches no other.
func TestInFlight(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		delivery := func(n, attempt int) *Delivery {
			return &Delivery{Message: newMessage(1, n), Attempt: attempt}
		}
		first, ninth, tenth := delivery(1, 1), delivery(9, 1), delivery(10, 1)
		var f inFlight
		assert.Empty(t, f.ids())
		for _, d := range []*Delivery{first, tenth, ninth, {}} {
			f.begin(d)
		}
		assert.Equal(t, []string{"", "m1", "m9", "m10"}, f.ids())
		f.end(ninth, nil, time.Second)
		f.end(first, errNoAnswer, time.Second)
		f.end(tenth, errNoAnswer, time.Second)
		assert.Equal(t, []string{"", "m1", "m10"}, f.ids(), "two in doubt")

		time.Sleep(time.Second / 2)
		second := delivery(1, 2)
		f.begin(second)
		assert.Equal(t, 3, f.count(), "the first is not in doubt any more")
		f.end(second, errNoAnswer, time.Second)
		time.Sleep(time.Second/2 - 1)
		assert.Equal(t, []string{"", "m1", "m10"}, f.ids(), "in doubt")
		time.Sleep(1 * time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, []string{"", "m1"}, f.ids(), "the second in doubt")
		third := delivery(1, 3)
		f.begin(third)
		f.end(third, nil, time.Second)
		assert.Equal(t, []string{""}, f.ids(), "settled in the end")
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Len(t, f.open, 1)
		assert.Empty(t, f.doubts)

		f.begin(delivery(2, 1))
		f.begin(delivery(2, 2)) // while the first handler hangs
		assert.Equal(t, []string{"", "m2"}, f.ids(), "each message once")
	})
}

// A panic in a handler itself costs one delivery: its lease runs out, and the
// message is delivered again. It is in the log, with its stack.
func TestMandrillSurvivesItsHandlers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		panicked := false
		m := newMandrill(b, func(m *Mandrill) {
			m.failures = countFunc(func() (int, error) {
				if !panicked {
					panicked = true
					panics()
				}
				return 1, nil
			})
			m.restart = func(context.Context, Message) error {
				if !panicked {
					return errRefused
				}
				return nil
			}
		})
		log := logTo(m)
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"2s: expired #1",
			"2s: delivered #2",
			"2s: acked #2",
		}, b.story("m1"))
		assert.Equal(t, 1, log.count(`err="panic: on purpose"`), "lines")
		assert.Equal(t, log.count("msg=panicked"),
			log.count("msg=panicked id=m1 attempt=1 "), "whose it is")
		assert.Equal(t, 1, log.count(`in="panics (helpers`), "its place")
	})
}

// A log that panics does not end the process either, not even when it panics
// again at the line about its own panic.
func TestMandrillSurvivesItsLog(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		m := newMandrill(b, func(m *Mandrill) {
			m.restart, m.maxFailures = refused, 3
		})
		m.log = slog.New(slog.NewTextHandler(writer(
			func(p []byte) (int, error) {
				if bytes.Contains(p, []byte("level=WARN")) ||
					bytes.Contains(p, []byte("msg=panicked")) {
					panic("the log is full")
				}
				return len(p), nil
			}), nil))
		assert.NoError(t, m.Run(t.Context()))
		story := b.story("m1")
		assert.Equal(t, "4s: dead-lettered #3: "+
			"failed 3 times: restart refused", story[len(story)-1])
	})
}

// A failure that can't be counted is tried again. The count of deliveries ends
// it.
func TestMandrillCounterFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = refused
			m.failures = countFunc(func() (int, error) {
				return 0, errors.New("bucket gone")
			})
		})
		log := logTo(m)
		assert.NoError(t, m.Run(t.Context()))
		story := b.story("m1")
		assert.Contains(t, story[len(story)-1],
			"dead-lettered #17: delivered too often")
		assert.Equal(t, 16, log.count("failure not counted"))
		assert.Equal(t, 1, log.count("failure count not dropped"))
	})
}

// A count ends with its message, or twenty minutes after the last failure.
func TestMemoryCounter(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c memoryCounter
		add := func(want int) {
			n, err := c.add(t.Context(), "m1")
			assert.NoError(t, err)
			assert.Equal(t, want, n, "failures of m1")
		}
		add(1)
		left := func() int {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.counts)
		}
		assert.NoError(t, c.forget(t.Context(), "m1"))
		assert.NoError(t, c.forget(t.Context(), "m2"))
		assert.Zero(t, left(), "counts left")
		time.Sleep(10 * time.Minute)
		add(1)
		time.Sleep(15 * time.Minute) // past the end of what was forgotten
		add(2)
		time.Sleep(20*time.Minute - 1)
		assert.Equal(t, 1, left(), "counts left")
		time.Sleep(1 * time.Nanosecond)
		synctest.Wait()
		assert.Zero(t, left(), "counts left")
	})
}

// What the drain cuts short another consumer can have at once, and it does not
// count as a failure.
func TestMandrillGivesBackAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, start := quietBroker(2*time.Second, 1), time.Now()
		publishOnly(t, b, 1)
		var failures memoryCounter
		m := newMandrill(b, func(m *Mandrill) {
			m.restart, m.drain = takes(time.Minute), time.Second
			m.failures = &failures
		})
		assert.Equal(t, 3, status(runUntil(t, m, time.Second)), "exit status")
		again, err := one(b.Receive(t.Context(), forever, 1))
		require.NoError(t, err)
		assert.Equal(t, 2*time.Second, time.Since(start), "delivered again")
		assert.Empty(t, failures.counts, "failures")
		again.Ack(t.Context())
	})
}

// failing returns how a broker fails at one verb, with that error.
func failing(verb string, err error) func(string, string) (bool, error) {
	return func(v, _ string) (bool, error) {
		if v == verb {
			return false, err
		}
		return false, nil
	}
}

// A broker that fails now and then is not given up on: what counts is how long
// it has failed without a break.
func TestMandrillFailsNowAndThen(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, calls := quietBroker(2*time.Second, 1), 0
		b.fail = func(string, string) (bool, error) {
			calls++
			if calls%2 == 1 {
				return false, errUnreachable
			}
			return false, nil
		}
		m := newMandrill(b, func(m *Mandrill) { m.giveUp = 2 * time.Second })
		log := logTo(m)
		assert.NoError(t, runUntil(t, m, 10*time.Second))
		assert.Equal(t, log.count(`msg="receive failed"`),
			log.count("failures=1 again_in=100ms"), "pauses of 100ms")
	})
}

// The pause after a failure does not hold up a shutdown.
func TestMandrillStopsInAPause(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		start, b := time.Now(), quietBroker(2*time.Second, 1)
		b.fail = failing("receive", errUnreachable)
		m := newMandrill(b, func(*Mandrill) {})
		assert.NoError(t, runUntil(t, m, 8*time.Second)) // from 6.3s to 11.3s
		assert.Equal(t, 8*time.Second, time.Since(start), "Run took")
	})
}

// A panic in Receive counts as one failed poll.
func TestMandrillReceivePanics(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, calls := quietBroker(2*time.Second, 1), 0
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		b.fail = func(string, string) (bool, error) {
			if calls++; calls == 1 {
				panic("no connection")
			}
			return false, nil
		}
		m := newMandrill(b, func(*Mandrill) {})
		log := logTo(m)
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, 1, log.count(`in="TestMandrillReceivePanics`), "stack")
		assert.Equal(t, 1, b.count("acked"), "acked")
	})
}

// A waitQueue notes how long it is asked to wait.
type waitQueue struct {
	queue
	waits []time.Duration
}

// Receive implements queue.
func (q *waitQueue) Receive(
	ctx context.Context, wait time.Duration, most int,
) ([]*Delivery, error) {
	q.waits = append(q.waits, wait)
	return q.queue.Receive(ctx, wait, most)
}

// A poll waits for a fifth of a lease, and for a second at most.
func TestMandrillPolls(t *testing.T) {
	for lease, want := range map[time.Duration]time.Duration{
		2 * time.Second: 400 * time.Millisecond,
		time.Minute:     time.Second,
	} {
		inBubble(t, func(t *testing.T) {
			b := quietBroker(lease, 1)
			q := &waitQueue{queue: b}
			m := newMandrill(b, func(m *Mandrill) { m.queue = q })
			assert.NoError(t, runUntil(t, m, time.Second/10))
			assert.Equal(t, []time.Duration{want}, q.waits)
		})
	}
}

// When the broker says that the lease is lost, or the message settled, the work
// ends at once, and what is half done is let go.
func TestMandrillToldThatItIsLost(t *testing.T) {
	for _, told := range []error{errLeaseLost, errSettled} {
		t.Run(told.Error(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				b := newBroker(s.log, 2*time.Second, 1)
				publishOnly(t, b, 1)
				b.fail = failing("extend", told)
				var ended time.Duration
				m := newMandrill(b, func(m *Mandrill) {
					m.restart = func(ctx context.Context, _ Message) error {
						err := sleep(ctx, time.Minute)
						ended = time.Since(s.start)
						return err
					}
				})
				log := logTo(m)
				assert.NoError(t, runUntil(t, m, time.Second))
				assert.Equal(t, 800*time.Millisecond, ended, "the work ended")
				assert.Equal(t, 1, log.count("let go"), "lines")
				assert.Equal(t, []string{
					"0s: delivered #1",
					"800ms: extend refused #1: " + told.Error(),
				}, b.story("m1")[:2])
			})
		})
	}
}

// An extension that is under way when the work ends is cancelled. Settling
// comes after it, and it has no line: it did not fail.
func TestMandrillLateExtension(t *testing.T) {
	for _, tt := range []struct {
		name string
		deaf bool
		want []string
	}{
		{"it returns at once", false, []string{
			"0s: delivered #1",
			"900ms: extend refused #1: context canceled",
			"900ms: acked #1",
		}},
		{"it ignores that", true, []string{
			"0s: delivered #1",
			"1.1s: extended #1",
			"1.1s: acked #1",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				b := newBroker(s.log, 2*time.Second, 1)
				require.NoError(t, publish(t.Context(), b, 1, 1, 0))
				b.slow = map[string]time.Duration{}
				if !tt.deaf {
					b.slow["extend"] = 300 * time.Millisecond
				}
				b.fail = func(verb, _ string) (bool, error) {
					if verb == "extend" && tt.deaf {
						time.Sleep(300 * time.Millisecond)
					}
					return false, nil
				}
				m := newMandrill(b, func(m *Mandrill) {
					m.restart = takes(900 * time.Millisecond)
				})
				log := logTo(m)
				assert.NoError(t, m.Run(t.Context()))
				assert.Equal(t, tt.want, b.story("m1"))
				assert.Zero(t, log.count("not extended"), "lines")
			})
		})
	}
}

// Each try to settle has half of the grace. A broker that says that the message
// is another consumer's has answered.
func TestMandrillTells(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		publishOnly(t, b, 1)
		b.slow = map[string]time.Duration{"ack": time.Hour}
		m := newMandrill(b, func(*Mandrill) {})
		runUntil(t, m, 1900*time.Millisecond)
		assert.Equal(t, []string{
			"0s: delivered #1",
			"500ms: ack refused #1: no answer in time",
			"1.1s: ack refused #1: no answer in time",
			"1.8s: ack refused #1: no answer in time",
		}, b.story("m1")[:4])
	})
	for _, told := range []error{errLeaseLost, errSettled} {
		inBubble(t, func(t *testing.T) {
			b := quietBroker(2*time.Second, 1)
			publishOnly(t, b, 1)
			b.fail = failing("nack", told)
			m := newMandrill(b, func(m *Mandrill) { m.restart = refused })
			log := logTo(m)
			assert.NoError(t, runUntil(t, m, time.Second))
			assert.Equal(t, 1, log.count("settled already")+
				log.count("settled too late"), "lines")
			assert.Zero(t, log.count("not settled"), "lines")
		})
	}
}

// Work that ends its goroutine counts as failed, be it save or restart.
func TestMandrillGoexit(t *testing.T) {
	exit := func(context.Context, Message) error {
		runtime.Goexit()
		return nil
	}
	for _, set := range []func(m *Mandrill){
		func(m *Mandrill) { m.save = exit },
		func(m *Mandrill) { m.restart = exit },
	} {
		inBubble(t, func(t *testing.T) {
			b := quietBroker(2*time.Second, 1)
			require.NoError(t, publish(t.Context(), b, 1, 1, 0))
			m := newMandrill(b, func(m *Mandrill) {
				m.maxFailures = 1
				set(m)
			})
			assert.NoError(t, m.Run(t.Context()))
			assert.Equal(t, []string{
				"0s: delivered #1",
				"0s: dead-lettered #1: failed 1 times: it did not return",
			}, b.story("m1"))
		})
	}
}

// A count ends with its message, also when that is done in the end, and also
// when the answer to its ack was lost: the next try finds it settled already.
func TestMandrillForgetsFailures(t *testing.T) {
	for _, lost := range []int{0, 1} {
		forgetsFailures(t, lost)
	}
}

func forgetsFailures(t *testing.T, lost int) {
	inBubble(t, func(t *testing.T) {
		b, calls := quietBroker(2*time.Second, 1), 0
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "ack" && lost > 0 {
				lost--
				return true, errUnreachable
			}
			return false, nil
		}
		var failures memoryCounter
		m := newMandrill(b, func(m *Mandrill) {
			m.failures = &failures
			m.restart = func(context.Context, Message) error {
				if calls++; calls <= 3 {
					return errRefused
				}
				return nil
			}
		})
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, 4, calls, "restarts")
		assert.Empty(t, failures.counts, "counts left")
	})
}

// An ack gets no answer while its lease lasts. The message is delivered again,
// and its second ack is confirmed. Then nothing is in doubt any more.
func TestMandrillDoubtEndsWithTheNextDelivery(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "ack" && time.Since(s.start) < 2850*time.Millisecond {
				return false, errUnreachable
			}
			return false, nil
		}
		first := true
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = func(context.Context, Message) error {
				if first {
					first = false
					time.Sleep(1500 * time.Millisecond)
				}
				return nil
			}
		})
		assert.NoError(t, m.Run(t.Context()))
		story := b.story("m1")
		assert.Contains(t, story[len(story)-1], "acked #2")
	})
}

// A dead letter that comes too late settles nothing. So its failures are not
// forgotten.
func TestMandrillRemembersFailures(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, calls := quietBroker(2*time.Second, 1), 0
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "dead-letter" {
				if calls++; calls <= 2 {
					return false, errLeaseLost
				}
			}
			return false, nil
		}
		m := newMandrill(b, func(m *Mandrill) {
			m.maxFailures, m.pause, m.restart = 3, time.Second, refused
		})
		log := logTo(m)
		assert.NoError(t, m.Run(t.Context()))
		story := b.story("m1")
		assert.Contains(t, story[len(story)-1],
			"dead-lettered #5: failed 5 times: restart refused")
		assert.Equal(t, 2, log.count("settled=false"), "dead letters too late")
		assert.Equal(t, 1, log.count("settled=true"), "dead letters")
	})
}

// A queueFunc is a queue whose Receive a test writes itself.
type queueFunc func(
	ctx context.Context, wait time.Duration,
) (*Delivery, error)

// Publish implements queue.
func (f queueFunc) Publish(context.Context, Message) error { return nil }

// Close implements queue.
func (f queueFunc) Close() {}

// Receive implements queue.
func (f queueFunc) Receive(
	ctx context.Context, wait time.Duration, _ int,
) ([]*Delivery, error) {
	d, err := f(ctx, wait)
	if err != nil {
		return nil, err
	}
	return []*Delivery{d}, nil
}

// A broker that does not wait is not asked more often than one that does.
func TestMandrillDoesNotSpin(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		calls := 0
		m := newMandrill(quietBroker(2*time.Second, 1), func(m *Mandrill) {
			m.queue = queueFunc(func(
				context.Context, time.Duration,
			) (*Delivery, error) {
				calls++
				return nil, errNothing
			})
		})
		assert.NoError(t, runUntil(t, m, time.Minute-1))
		assert.Equal(t, 150, calls, "polls in a minute")
	})
}

// An adapter that forgets when it asked does no harm, and one that returns
// neither a message nor an error has failed.
func TestMandrillBadAdapters(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, calls := quietBroker(2*time.Second, 1), 0
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		m := newMandrill(b, func(m *Mandrill) {
			m.queue = queueFunc(func(
				ctx context.Context, wait time.Duration,
			) (*Delivery, error) {
				if calls++; calls == 1 {
					return nil, nil
				}
				d, err := one(b.Receive(ctx, wait, 1))
				if err == nil {
					d.Asked = time.Time{}
				}
				return d, err
			})
		})
		log := logTo(m)
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, 1, log.count(`msg="receive failed"`), "lines")
		assert.Equal(t, 1, b.count("acked"), "acked")
	})
}

// What happens after the ack does not make it undone: not a counter that takes
// its time, nor one that panics.
func TestMandrillForgetsLast(t *testing.T) {
	for name, forget := range map[string]func(){
		"slow":   func() { time.Sleep(time.Minute) },
		"panics": func() { panic("bucket gone") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b, calls := quietBroker(2*time.Second, 1), 0
				publishOnly(t, b, 1)
				m := newMandrill(b, func(m *Mandrill) {
					m.slots = 2
					m.failures = countFunc(func() (int, error) {
						if calls++; calls > 1 {
							forget()
						}
						return 1, nil
					})
					m.restart = func(context.Context, Message) error {
						if calls == 0 {
							return errRefused
						}
						return nil
					}
				})
				assert.NoError(t, runUntil(t, m, 3*time.Second))
				assert.Equal(t, 1, b.count("acked"), "acked")
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// One extension that gets no answer does not cost the lease.
func TestMandrillExtendTimesOut(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		r := &replica{queue: b}
		time.AfterFunc(700*time.Millisecond, func() { r.silent.Store(true) })
		time.AfterFunc(time.Second, func() { r.silent.Store(false) })
		m := newMandrill(b, func(m *Mandrill) {
			m.queue, m.restart = r, takes(3900*time.Millisecond)
		})
		log := logTo(m)
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"1.6s: extended #1", // the one of 0.8s never arrives
			"2.4s: extended #1",
			"3.2s: extended #1",
			"3.9s: acked #1",
		}, b.story("m1"))
		assert.Equal(t, 1, log.count(`msg="not extended" id=m1 attempt=1 `+
			`err="no answer in time"`), log.text.String())
	})
}

// A log that panics in the keeper costs the lease, and no more.
func TestMandrillKeeperPanics(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(2*time.Second, 1)
		publishOnly(t, b, 1)
		b.fail = failing("extend", errUnreachable)
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = takes(time.Minute)
		})
		m.log = slog.New(slog.NewTextHandler(writer(
			func(p []byte) (int, error) {
				if bytes.Contains(p, []byte("not extended")) {
					panic("the log is full")
				}
				return len(p), nil
			}), nil))
		assert.NoError(t, runUntil(t, m, time.Second))
		assert.Equal(t, "0s: delivered #1", b.story("m1")[0])
	})
}

// A queue that ends the goroutine of the puller has failed.
func TestMandrillPullerEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMandrill(quietBroker(2*time.Second, 1), func(m *Mandrill) {
			m.queue = queueFunc(func(
				context.Context, time.Duration,
			) (*Delivery, error) {
				runtime.Goexit()
				return nil, nil
			})
		})
		err := m.Run(t.Context())
		assert.ErrorIs(t, err, errNoResult)
		assert.Equal(t, 1, status(err), "exit status")
	})
}

// A database that does not answer holds nothing up for ever.
func TestLedgerDatabaseHangs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l, start := ledger{db: &hangingDatabase{}}, time.Now()
		err := l.once("restarted", nothing)(t.Context(), newMessage(1, 1))
		assert.Equal(t, errNoAnswer, err)
		assert.Equal(t, markTime, time.Since(start), "it took")
	})
}

// A hangingDatabase never marks anything.
type hangingDatabase struct{ memoryDatabase }

// markDone implements database.
func (db *hangingDatabase) markDone(ctx context.Context, _ string) error {
	return sleep(ctx, forever)
}

// An error whose methods panic is a panic, whichever of them it is.
func TestContainAsksErrors(t *testing.T) {
	for _, bad := range []error{(*typedNil)(nil), badAs{}, badIs{}} {
		err := contain(func() error { return bad })
		_, ok := errors.AsType[*panicError](err)
		assert.True(t, ok, "%T", bad)
	}
}

type badAs struct{}

func (badAs) Error() string { return "bad" }
func (badAs) As(any) bool   { panic("As") }

type badIs struct{}

func (badIs) Error() string { return "bad" }
func (badIs) Is(error) bool { panic("Is") }
