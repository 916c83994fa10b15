package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// A memoryStore is a bucket for tests.
type memoryStore struct {
	memoryDatabase
	log   *slog.Logger
	mu    sync.Mutex
	n     int
	saved map[string]bool

	counters map[string]*memoryCounter
}

// newMemoryStore returns an empty store.
func newMemoryStore(log *slog.Logger) *memoryStore {
	return &memoryStore{log: log, saved: make(map[string]bool),
		counters: make(map[string]*memoryCounter)}
}

// counter implements store.
func (s *memoryStore) counter(what string) counter {
	s.counters[what] = &memoryCounter{}
	return s.counters[what]
}

// next implements store.
func (s *memoryStore) next(context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return s.n, nil
}

// save implements store.
func (s *memoryStore) save(_ context.Context, msg Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.saved[msg.ID] {
		s.log.Info("saved", "id", msg.ID)
	}
	s.saved[msg.ID] = true
	return nil
}

// workInMemory runs the service on the teaching broker, with leases of two
// seconds. It returns what was stored, too.
func workInMemory(
	ctx context.Context, out *lines, c config, set func(*broker),
) (*memoryStore, error) {
	log := newLog(out, slog.LevelInfo)
	b := newBroker(log, 2*time.Second, room)
	set(b)
	c.speed = 1
	db := newMemoryStore(log)
	return db, work(ctx, log, out, c, b, b.lease, db)
}

// Whatever the seed, each message that was published is acked or becomes a dead
// letter. A message that is delivered several times is handled once.
func TestService(t *testing.T) {
	happened := make(map[string]int)
	for seed := range uint64(50) {
		inBubble(t, func(t *testing.T) {
			var out lines
			ignore := goleak.IgnoreCurrent()
			db, err := workInMemory(t.Context(), &out,
				config{n: 20, seed: seed}, func(*broker) {})
			assert.NoError(t, err)
			assert.Empty(t, leaked(t, ignore))
			lines := func(what string) int {
				n := out.count("msg=" + what + " ")
				happened[what] += n
				return n
			}
			acked, dead := lines("acked"), lines("dead-lettered")
			assert.Equal(t, 20, lines("published"), "published")
			assert.Equal(t, 20, acked+dead, "settled")
			assert.Equal(t, 20, lines("saved"), "saved")
			assert.Equal(t, acked, lines("restarted"), "restarted")
			assert.Equal(t, lines("nacked"), lines("failed"), "failed")
			assert.Len(t, db.counters["delivered"].counts, 20, "delivered")
			assert.Empty(t, db.counters["failed"].counts, "failed, but settled")
		})
	}
	assert.Greater(t, happened["dead-lettered"], 20)
	assert.Greater(t, happened["failed"], 20)
}

// A forgetfulBroker says of each delivery that it is the first. A broker that
// was killed may do the same.
type forgetfulBroker struct{ queue }

// Receive implements queue.
func (b forgetfulBroker) Receive(
	ctx context.Context, wait time.Duration, most int,
) ([]*Delivery, error) {
	batch, err := b.queue.Receive(ctx, wait, most)
	for _, d := range batch {
		d.Attempt = 1
	}
	return batch, err
}

// A message that is delivered again and again becomes a dead letter even if the
// broker has forgotten how often it was delivered. If counting fails, the
// broker's count holds.
func TestCountsDeliveries(t *testing.T) {
	for _, tt := range []struct {
		name    string
		broker  func(*broker) queue
		counter counter
	}{
		{"we count", func(b *broker) queue { return forgetfulBroker{b} },
			&memoryCounter{}},
		{"the broker counts", func(b *broker) queue { return b },
			countFunc(func() (int, error) { return 0, errUnreachable })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := quietBroker(time.Second, 1)
				require.NoError(t, publish(t.Context(), b, 1, 1, 0))
				calls := 0
				m := newMandrill(b, func(m *Mandrill) {
					m.queue, m.deliveries = tt.broker(b), tt.counter
					m.maxDeliveries = 3
					m.restart = func(context.Context, Message) error {
						if calls++; calls > 10 {
							return nil // or it would never end
						}
						return errDrainDeadline // given back: no failure
					}
				})
				assert.NoError(t, m.Run(t.Context()))
				assert.Equal(t, 3, calls, "calls")
				assert.Equal(t, 1, b.states()[deadLettered], "dead letters")
			})
		})
	}
}

// While failures can't be counted, the pauses grow with the deliveries, so
// that a minute without the bucket makes no dead letters.
func TestPausesGrowUncounted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = refused
			m.failures = countFunc(func() (int, error) {
				return 0, errUnreachable
			})
		})
		begun := time.Now()
		assert.NoError(t, m.Run(t.Context()))
		assert.Greater(t, time.Since(begun), time.Minute, "until a dead letter")
	})
}

// The flags reach the service: how long the broker may fail, and how long a
// drain takes.
func TestServiceFlags(t *testing.T) {
	const outOfReach = ": broker out of reach"
	for _, tt := range []struct {
		name       string
		config     config
		outage     time.Duration
		signal     time.Duration
		want       string // error
		wantStatus int
		wantTook   time.Duration // at least, and at most a poll longer
	}{
		{"give up", config{giveUp: 3 * time.Second}, -1, time.Hour,
			"receive failed for 3s" + outOfReach, 1, 4 * time.Second},
		{"drain", config{drain: time.Second / 10}, 0, 4 * time.Second,
			"drain deadline passed", 3, 4100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			forced := 0
			for seed := range uint64(10) {
				inBubble(t, func(t *testing.T) {
					var out lines
					start := time.Now()
					ctx, stop := context.WithTimeoutCause(
						t.Context(), tt.signal, errStopped)
					defer stop()
					tt.config.seed = seed
					set := func(b *broker) {
						if tt.outage != 0 {
							b.fail = outage(tt.outage)
						}
					}
					_, err := workInMemory(ctx, &out, tt.config, set)
					if err == nil {
						return // all ended in time, with this seed
					}
					forced++
					took := time.Since(start)
					assert.Equal(t, tt.wantStatus, status(err), "exit status")
					assert.Equal(t, 1, strings.Count(err.Error(), tt.want), err)
					assert.GreaterOrEqual(t, took, tt.wantTook, "took")
					assert.LessOrEqual(t, took, tt.wantTook+3*time.Second)
				})
			}
			assert.Greater(t, forced, 5, "runs")
		})
	}
}

// An outage does not make the service restart a host twice, or wait for the
// wrong time.
func TestServiceSurvivesAnOutage(t *testing.T) {
	again := regexp.MustCompile(
		`msg=failed id=(m\d+) attempt=\d+ failures=(\d+) again_in=(\S+)`)
	failures := 0
	for seed := range uint64(20) {
		inBubble(t, func(t *testing.T) {
			var out lines
			_, err := workInMemory(t.Context(), &out,
				config{n: 20, seed: seed}, func(b *broker) {
					b.fail = outage(4 * time.Second)
				})
			assert.NoError(t, err)
			for i := range 20 {
				line := fmt.Sprintf("msg=restarted id=m%d ", i+1)
				assert.LessOrEqual(t, out.count(line), 1, line)
			}
			for _, m := range again.FindAllStringSubmatch(
				out.text.String(), -1) {
				n, _ := strconv.Atoi(m[2])
				want := backoff(seed, Message{ID: m[1]}, time.Second, n)
				assert.Equal(t, want.String(), m[3], m[0])
				failures++
			}
		})
	}
	assert.Greater(t, failures, 20)
}

// If the log can't be written, the program exits with status 1, but only when
// every message is handled.
func TestLogFails(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left on device")
	var mu sync.Mutex
	settled := 0
	err := run(t.Context(), []string{"-n", "3", "-speed", "10"}, writer(
		func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			settled += strings.Count(string(p), "how=ack")
			return 0, full
		}))
	assert.ErrorIs(t, err, full)
	assert.Equal(t, 1, status(err), "exit status")
	assert.GreaterOrEqual(t, settled, 3, "acked") // a lease may be lost
}

// What is no restart request at all becomes a dead letter at once, whatever the
// work would say.
func TestInvalidRequest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(time.Second, 1)
		publishOnly(t, b, 1)
		m := newMandrill(b, func(m *Mandrill) {
			m.queue = queueFunc(func(
				ctx context.Context, wait time.Duration,
			) (*Delivery, error) {
				d, err := one(b.Receive(ctx, wait, 1))
				if err == nil {
					d.invalid = errNotRequest
				}
				return d, err
			})
			m.restart = func(context.Context, Message) error {
				return errors.New("it is restarted")
			}
		})
		require.NoError(t, runUntil(t, m, time.Second))
		assert.Equal(t, []string{"0s: delivered #1",
			"0s: dead-lettered #1: not a restart request"}, b.story("m1"))
	})
}

// Every line about a message names it. The others are known.
func TestLogNamesTheMessage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var out lines
		_, err := workInMemory(t.Context(), &out,
			config{n: 50, seed: 3, drain: time.Second}, func(*broker) {})
		require.NoError(t, err)
		named := 0
		for line := range strings.Lines(out.text.String()) {
			if strings.Contains(line, " id=m") {
				named++
			} else {
				assert.Regexp(t, `msg=(stopping|drained)\b`, line)
			}
		}
		assert.Greater(t, named, 5*40)
	})
}

// A save that fails after the restart has succeeded does not restart the host
// again.
func TestRestartedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var out lines
		restarted := regexp.MustCompile(`msg=restarted id=(\w+)`)
		_, err := workInMemory(t.Context(), &out,
			config{n: 50, seed: 3, drain: time.Second}, func(b *broker) {
				var mu sync.Mutex
				first := make(map[string]time.Time) // tries to ack
				b.fail = func(verb, id string) (bool, error) {
					mu.Lock()
					defer mu.Unlock()
					if _, ok := first[id]; verb == "ack" && !ok {
						first[id] = time.Now()
					}
					if verb == "ack" && time.Since(first[id]) < b.lease {
						return false, errUnreachable // until the lease is over
					}
					return false, nil
				}
			})
		require.NoError(t, err)
		times := make(map[string]int)
		for _, m := range restarted.FindAllStringSubmatch(
			out.text.String(), -1) {
			times[m[1]]++
		}
		assert.Greater(t, len(times), 40)
		for id, n := range times {
			assert.Equal(t, 1, n, "restarts of %s", id)
		}
		assert.Greater(t, out.count("attempt=2"), 40, "delivered again")
	})
}
