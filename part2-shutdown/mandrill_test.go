package main

import (
	"context"
	"fmt"
	"strings"
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
		publishOnly(t, b, 2)
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

// An ack that gets no answer is in doubt until its lease is certainly over. A
// shutdown names the message before that. After it, another consumer has acked
// it, and a shutdown has nothing to say.
func TestMandrillDoubts(t *testing.T) {
	for _, tt := range []struct {
		signal time.Duration
		want   []string
	}{
		{1900 * time.Millisecond, []string{"m1"}},
		{3 * time.Second, nil},
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
					again, err := b.Receive(t.Context(), forever)
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

// A broker that fails ends the service, with its error and status 1. What is in
// progress has the time of the drain.
func TestMandrillReceiveFails(t *testing.T) {
	for _, tt := range []struct {
		name       string
		restart    workFunc
		wantForced bool
		wantTook   time.Duration
		wantLast   string
	}{
		{"what is in progress ends", takes(3 * time.Second), false,
			3 * time.Second, "3s: acked #1"},
		{"or is cancelled", takes(time.Minute), true,
			5 * time.Second, "5s: nacked #1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				b, calls := newBroker(s.log, 2*time.Second, 1), 0
				publishOnly(t, b, 1)
				b.fail = func(verb, _ string) (bool, error) {
					if verb == "receive" {
						calls++
					}
					if verb == "receive" && calls > 1 {
						return false, errUnreachable
					}
					return false, nil
				}
				m := newMandrill(b, func(m *Mandrill) {
					m.slots, m.restart = 2, tt.restart
				})
				err := m.Run(t.Context())
				assert.ErrorIs(t, err, errUnreachable)
				assert.Equal(t, 1, status(err), "exit status")
				if tt.wantForced { // a failure outranks it
					assert.ErrorIs(t, err, forcedError{})
				}
				assert.Equal(t, tt.wantTook, time.Since(s.start), "Run took")
				story := b.story("m1")
				assert.Equal(t, tt.wantLast, story[len(story)-1])
				assert.Nil(t, leaked(t, ignore), "goroutines left")
			})
		})
	}
}

// A settlement that fails has its line, and is named if the service stops soon
// after.
func TestMandrillNamesWhatItCouldNotSettle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, time.Minute, 1)
		b.slow = map[string]time.Duration{"ack": time.Hour}
		publishOnly(t, b, 1)
		m := newMandrill(b, func(m *Mandrill) { m.grace = 3 * time.Second })
		log := logTo(m)
		assertAbandoned(t, runUntil(t, m, time.Second), "m1")
		assert.Equal(t, []string{
			"0s: delivered #1",
			"1.5s: ack refused #1: no answer in time",
		}, b.story("m1"))
		assert.Equal(t, 1, log.count(`level=WARN msg="not settled" id=m1 `+
			`attempt=1 how=ack err="no answer in time"`), log.text.String())
	})
}

// A message that another consumer has settled, or has now, is no business of
// ours any more.
func TestMandrillSettledElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(time.Second, 1)
		publishOnly(t, b, 1)
		m := newMandrill(b, func(*Mandrill) {})
		log := logTo(m)
		first, err := b.Receive(t.Context(), forever)
		require.NoError(t, err)
		second, err := b.Receive(t.Context(), forever)
		require.NoError(t, err)
		assert.NoError(t, m.settle(t.Context(), first, toGiveBack), "lost")
		assert.Equal(t, 1, log.count("settled too late"), log.text.String())
		require.NoError(t, second.Ack(t.Context()))
		assert.NoError(t, m.settle(t.Context(), first, toAck), "settled")
		assert.Equal(t, 1, log.count("settled already"), log.text.String())
	})
}

// A single failed extension does not lose the lease.
func TestMandrillOneExtensionFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b, calls := newBroker(s.log, 2*time.Second, 1), 0
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
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
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"800ms: extended #1",
			"1.6s: extend refused #1: broker out of reach",
			"2.4s: extended #1",
			"3.2s: extended #1",
			"3.9s: acked #1",
		}, b.story("m1"))
	})
}

// A restart that hangs loses its lease at the limit, nine leases, when the last
// extension has run out.
func TestMandrillMaximumLease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		publishOnly(t, b, 1)
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = ignoring(time.Minute)
		})
		assertAbandoned(t, runUntil(t, m, 15*time.Second), "m1")
		time.Sleep(time.Minute)
		story := b.story("m1")
		assert.Contains(t, story, "17.6s: extended #1")
		assert.Contains(t, story, "19.6s: expired #1")
	})
}

// An extension that ignores its context is waited for: settling comes last.
func TestMandrillLateExtension(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "extend" {
				time.Sleep(300 * time.Millisecond)
			}
			return false, nil
		}
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = takes(900 * time.Millisecond)
		})
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"1.1s: extended #1",
			"1.1s: acked #1",
		}, b.story("m1"))
	})
}

// What arrives after the signal and can't be given back is abandoned by name.
func TestMandrillNamesWhatItDidNotBegin(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(10*time.Second, 1)
		b.slow = map[string]time.Duration{
			"receive": time.Second, "nack": time.Hour,
		}
		publishOnly(t, b, 1)
		m := newMandrill(b, func(*Mandrill) {})
		assertAbandoned(t, runUntil(t, m, time.Second/2), "m1")
	})
}

// The flags reach the service, and the last line adds up.
func TestServiceFlags(t *testing.T) {
	for _, tt := range []struct {
		args       string
		signal     time.Duration
		want       string // error
		wantStatus int
		wantTook   time.Duration // at least, and at most a little longer
	}{
		{"-outage -1", time.Hour, "broker out of reach", 1, time.Second},
		{"-drain 100ms", 4 * time.Second, "drain deadline passed", 3,
			4100 * time.Millisecond},
	} {
		t.Run(tt.args, func(t *testing.T) {
			failed := 0
			for seed := range uint64(10) {
				inBubble(t, func(t *testing.T) {
					var out lines
					start := time.Now()
					ctx, stop := context.WithTimeoutCause(
						t.Context(), tt.signal, errStopped)
					defer stop()
					args := append(strings.Fields(tt.args),
						"-seed", fmt.Sprint(seed))
					err := run(ctx, args, &out)
					if err == nil {
						return // all ended in time, with this seed
					}
					failed++
					took := time.Since(start)
					assert.Equal(t, tt.wantStatus, status(err), "exit status")
					assert.Equal(t, 1, strings.Count(err.Error(), tt.want), err)
					assert.GreaterOrEqual(t, took, tt.wantTook, "took")
					if tt.wantStatus == 3 {
						assert.LessOrEqual(t, took,
							tt.wantTook+400*time.Millisecond, "took")
					}
					var is struct{ p, a, w, f, u int }
					_, last, _ := strings.Cut(out.text.String(), "msg=ended ")
					_, err = fmt.Sscanf(last, "published=%d acked=%d "+
						"waiting=%d in_flight=%d undelivered=%d",
						&is.p, &is.a, &is.w, &is.f, &is.u)
					assert.NoError(t, err, last)
					assert.Equal(t, is.p, is.a+is.w+is.f+is.u, last)
					if tt.wantStatus == 3 {
						assert.Zero(t, is.f, "in flight")
						assert.Positive(t, is.w, "waiting")
					}
				})
			}
			assert.Greater(t, failed, 5, "runs")
		})
	}
}

// A broker that never answers a poll has failed.
func TestMandrillPollHasATimeOut(t *testing.T) {
	for lease, want := range map[time.Duration]time.Duration{
		2 * time.Second: 2400 * time.Millisecond, // 0.4s and the lease
		time.Minute:     6 * time.Second,         // 1s and 5s
	} {
		inBubble(t, func(t *testing.T) {
			b, start := quietBroker(lease, 1), time.Now()
			b.slow = map[string]time.Duration{"receive": time.Hour}
			publishOnly(t, b, 1)
			m := newMandrill(b, func(*Mandrill) {})
			assert.ErrorIs(t, m.Run(t.Context()), errNoAnswer)
			assert.Equal(t, want, time.Since(start), "Run took")
		})
	}
}
