package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Save and restart go on side by side, and the ack comes after both.
func TestMandrillAcksAfterBoth(t *testing.T) {
	const short, long = 300 * time.Millisecond, 700 * time.Millisecond
	tests := []struct {
		name          string
		save, restart time.Duration
	}{
		{"save is faster", short, long},
		{"restart is faster", long, short},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				s.broker = newBroker(s.log, 2*time.Second, 1)
				m := newMandrill(s.broker, func(m *Mandrill) {
					m.save = s.work("saved", tt.save)
					m.restart = s.work("restarted", tt.restart)
				})
				assert.NoError(t, publish(t.Context(), s.broker, s.seed, 1, 0))
				assert.NoError(t, m.Run(t.Context()))
				assert.Equal(t, []string{
					"0s: delivered #1",
					"700ms: acked #1",
				}, s.broker.story("m1"))
				assert.Equal(t, 1, s.count("saved"))
				assert.Equal(t, 1, s.count("restarted"))
				assert.Empty(t, leaked(t, ignore))
			})
		})
	}
}

// Without a free slot no message is taken, because its lease would run out in
// our hands.
func TestMandrillTakesASlotFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 2)
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = s.work("restarted", 1500*time.Millisecond)
		})
		assert.NoError(t, publish(t.Context(), b, s.seed, 2, 0))
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"1.5s: delivered #1",
			"2.3s: extended #1",
			"3s: acked #1",
		}, b.story("m2"))
	})
}

// However it ends, Run has waited for all that it started. When its context
// ends, it waits for a message, or for a slot.
func TestMandrillWaitsForItsHandlers(t *testing.T) {
	enough := errors.New("enough")
	for _, slots := range []int{3, 4} {
		inBubble(t, func(t *testing.T) {
			s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
			b := newBroker(s.log, 2*time.Second, 3)
			m := newMandrill(b, func(m *Mandrill) {
				m.save = s.work("saved", time.Second)
				m.restart = s.work("restarted", 3*time.Second)
				m.slots = slots
			})
			publishOnly(t, b, 3) // the broker stays open: a fourth may come
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(500*time.Millisecond, func() { cancel(enough) })

			assert.ErrorIs(t, m.Run(ctx), enough)
			assert.Equal(t, 3*time.Second, time.Since(s.start), "took")
			assert.Equal(t, 3, s.count("restarted"), "restarts")
			assert.Empty(t, leaked(t, ignore), "left running")
		})
	}
}

// Save and restart have the context of Run. They end with it.
func TestMandrillCancelsItsWork(t *testing.T) {
	for _, which := range []string{"save", "restart"} {
		inBubble(t, func(t *testing.T) {
			s := newScene(t.Output(), 1)
			b := newBroker(s.log, 2*time.Second, 1)
			long := func(ctx context.Context, _ Message) error {
				return sleep(ctx, time.Minute)
			}
			m := newMandrill(b, func(m *Mandrill) {
				if which == "save" {
					m.save = long
				} else {
					m.restart = long
				}
			})
			publishOnly(t, b, 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			assert.Error(t, m.Run(ctx))
			assert.Equal(t, time.Second, time.Since(s.start), "%s took", which)
		})
	}
}

// Deliberately still wrong: what has failed is acked like what was done.
func TestMandrillIgnoresErrors(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		assert.NoError(t, publish(t.Context(), b, 1, 1, 0))
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = func(context.Context, Message) error {
				return errNoSuchHost
			}
		})
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{"0s: delivered #1", "0s: acked #1"},
			b.story("m1"))
	})
}

// The broker waits for a fifth of the lease, or a second, whichever is less. A
// context that ends meanwhile is why receive returns.
func TestMandrillPolls(t *testing.T) {
	enough := errors.New("enough")
	for lease, want := range map[time.Duration]time.Duration{
		2 * time.Second: 400 * time.Millisecond,
		time.Minute:     time.Second,
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		q := &pollOnce{cancel: func() { cancel(enough) }}
		m := &Mandrill{queue: q, lease: lease}
		_, err := m.receive(ctx)
		assert.Equal(t, want, q.wait, "wait with a lease of %v", lease)
		assert.Equal(t, enough, err, "what receive returned")
	}
}

// A pollOnce has no message, and notes how long it was asked to wait.
type pollOnce struct {
	queue
	wait   time.Duration
	cancel func()
}

// Receive implements queue.
func (q *pollOnce) Receive(
	_ context.Context, wait time.Duration,
) (*Delivery, error) {
	q.wait = wait
	q.cancel()
	return nil, errNothing
}

// The keeper extends until its context ends, or until the lease is lost: then
// there is nothing left to extend.
func TestKeepLease(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fails  int // extensions
		cancel time.Duration
		want   []string
	}{
		{"its context ends", 0, time.Second, []string{
			"0s: delivered #1",
			"800ms: extended #1",
			"2.8s: expired #1",
		}},
		{"the lease is lost", 2, time.Minute, []string{
			"0s: delivered #1",
			"800ms: extend refused #1: timed out",
			"1.6s: extend refused #1: timed out",
			"2s: expired #1",
			"2.4s: extend refused #1: lease lost",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b, calls := quietBroker(2*time.Second, 1), 0
				b.fail = func(verb, _ string) (bool, error) {
					if calls++; verb == "extend" && calls <= tt.fails+1 {
						return false, errors.New("timed out")
					}
					return false, nil
				}
				publishOnly(t, b, 1)
				d, err := b.Receive(t.Context(), time.Second)
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), tt.cancel)
				defer cancel()
				release := keepLease(ctx, d, 800*time.Millisecond, time.Hour)
				time.Sleep(30 * time.Second)
				assert.Equal(t, tt.want, b.story("m1"))
				release()
			})
		})
	}
}

// Eight messages are in progress at a time, if nothing else is said.
func TestMandrillZeroValues(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 9)
		assert.NoError(t, publish(t.Context(), b, s.seed, 9, 0))
		m := &Mandrill{
			queue: b, lease: b.lease, save: nothing,
			restart: s.work("restarted", time.Second),
		}
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, 8, s.peak, "restarts at a time")
	})
}

// A broker that fails ends the service. What is in progress ends first.
func TestMandrillReceiveFails(t *testing.T) {
	gone := errors.New("access denied")
	inBubble(t, func(t *testing.T) {
		s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
		b, calls := newBroker(s.log, 2*time.Second, 3), 0
		publishOnly(t, b, 3)
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "receive" {
				if calls++; calls == 3 {
					return false, gone
				}
			}
			return false, nil
		}
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = s.work("restarted", 3*time.Second)
			m.slots = 4
		})
		assert.ErrorIs(t, m.Run(t.Context()), gone)
		assert.Equal(t, 2, s.count("restarted"), "restarts")
		assert.Empty(t, leaked(t, ignore), "goroutines left")
	})
}

// A single failed extension does not lose the lease.
func TestMandrillOneExtensionFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b, calls := newBroker(s.log, 2*time.Second, 1), 0
		assert.NoError(t, publish(t.Context(), b, s.seed, 1, 0))
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "extend" {
				if calls++; calls == 2 {
					return false, errors.New("timed out")
				}
			}
			return false, nil
		}
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = s.work("restarted", 3900*time.Millisecond)
		})
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"800ms: extended #1",
			"1.6s: extend refused #1: timed out",
			"2.4s: extended #1",
			"3.2s: extended #1",
			"3.9s: acked #1",
		}, b.story("m1"))
	})
}

// The service as a whole: all that was published is saved, restarted and acked,
// once each, whatever the seed. Each takes the share of a second, or of three,
// that the seed gives it.
func TestService(t *testing.T) {
	for seed := range uint64(20) {
		inBubble(t, func(t *testing.T) {
			var out bytes.Buffer
			args := []string{"-n", "20", "-seed", fmt.Sprint(seed)}
			assert.NoError(t, run(t.Context(), args, &out))
			for _, what := range []string{
				"published", "delivered", "saved", "restarted", "acked",
			} {
				lines := strings.Count(out.String(), "msg="+what+" ")
				assert.Equal(t, 20, lines, what)
			}
			assert.Equal(t, 1, strings.Count(out.String(),
				"msg=ended published=20 delivered=20 acked=20"))
			for i := range 20 {
				msg := newMessage(seed, i+1)
				for what, longest := range map[string]time.Duration{
					"saved": time.Second, "restarted": 3 * time.Second,
				} {
					share := random(seed, msg.ID, what).Float64()
					takes := time.Duration(share * float64(longest)).
						Round(time.Millisecond)
					assert.Contains(t, out.String(),
						fmt.Sprintf("msg=%s id=%s host=%s took=%v\n",
							what, msg.ID, msg.Instance, takes))
				}
			}
		})
	}
}

// However long the backlog, eight messages are in progress at a time. Each
// lease is extended, the first time after 800ms.
func TestServiceUnderLoad(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := &timeline{start: time.Now()}
		require.NoError(t, run(t.Context(), []string{"-n", "200"}, log))
		inProgress, peak := 0, 0
		delivered := make(map[string]time.Duration)
		extended := 0
		for _, e := range log.entries {
			switch e.what {
			case "delivered":
				inProgress++
				delivered[e.id] = e.at
			case "acked":
				inProgress--
			case "extended":
				if extended++; e.at-delivered[e.id] < 1600*time.Millisecond {
					assert.Equal(t, 800*time.Millisecond,
						e.at-delivered[e.id], "first extension of %s", e.id)
				}
			}
			peak = max(peak, inProgress)
		}
		assert.Equal(t, 8, peak, "messages in progress")
		assert.Greater(t, extended, 200, "extensions")
	})
}

// A timeline is a log that keeps when each line was written.
type timeline struct {
	start   time.Time
	entries []entry
}

// An entry is a line about a message.
type entry struct {
	at       time.Duration
	what, id string
}

// Write implements io.Writer. It is called for one line at a time.
func (l *timeline) Write(p []byte) (int, error) {
	m := regexp.MustCompile(`msg=(\S+) id=(\S+)`).FindSubmatch(p)
	if m != nil {
		l.entries = append(l.entries,
			entry{time.Since(l.start), string(m[1]), string(m[2])})
	}
	return len(p), nil
}

// The service ends with its context, and returns the cause. What is published
// and delivered by then is counted in its last line.
func TestServiceStops(t *testing.T) {
	enough := errors.New("enough")
	inBubble(t, func(t *testing.T) {
		ignore := goleak.IgnoreCurrent()
		var out bytes.Buffer
		ctx, cancel := context.WithTimeoutCause(
			t.Context(), time.Minute, enough)
		defer cancel()
		start := time.Now()
		assert.ErrorIs(t, run(ctx, nil, &out), enough)
		assert.Less(t, time.Since(start), time.Minute+5*time.Second, "took")
		assert.Empty(t, leaked(t, ignore), "left running")
		count := func(what string) int {
			return strings.Count(out.String(), "msg="+what+" ")
		}
		assert.GreaterOrEqual(t, count("published"), count("delivered"))
		assert.Greater(t, count("delivered"), count("acked"))
		assert.Contains(t, out.String(), fmt.Sprintf(
			"msg=ended published=%d delivered=%d acked=%d\n",
			count("published"), count("delivered"), count("acked")))
	})
}

// Without a bound on messages, the publisher goes on, with a pause of half a
// second at most.
func TestPublisher(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := &timeline{start: time.Now()}
		b := newBroker(slog.New(slog.NewTextHandler(log, nil)), time.Hour, 5)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		assert.ErrorIs(t, publish(ctx, b, 1, 0, time.Second/2),
			context.DeadlineExceeded, "blocked at the sixth message")
		require.Len(t, log.entries, 5)
		for i, e := range log.entries[1:] {
			before := log.entries[i]
			share := random(1, before.id, "pause").Float64()
			assert.Equal(t, time.Duration(share*float64(time.Second/2)),
				e.at-before.at, "pause after %s", before.id)
		}
		for range 5 {
			d, err := b.Receive(t.Context(), time.Second)
			require.NoError(t, err)
			require.NoError(t, d.Ack(t.Context()))
		}
		_, err := b.Receive(t.Context(), time.Second)
		assert.ErrorIs(t, err, errClosed, "closed, although it failed")
	})
}

// Simulated work ends with its context, and returns the cause.
func TestSimulate(t *testing.T) {
	enough := errors.New("enough")
	inBubble(t, func(t *testing.T) {
		var out bytes.Buffer
		work := simulate(slog.New(slog.NewTextHandler(&out, nil)),
			1, "restarted", time.Hour)
		ctx, cancel := context.WithTimeoutCause(
			t.Context(), time.Second, enough)
		defer cancel()
		start := time.Now()
		assert.ErrorIs(t, work(ctx, newMessage(1, 1)), enough)
		assert.Equal(t, time.Second, time.Since(start), "took")
		assert.Empty(t, out.String(), "what it logged")
	})
}
