package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Each stage of a shutdown, to the instant. The signal comes after a second. A
// drain takes two seconds here, the grace one.
func TestMandrillStops(t *testing.T) {
	const sec = time.Second
	tests := []struct {
		name    string
		restart func(s *stage, hang chan struct{}) workFunc
		wantErr error
		took    time.Duration // Run
		want    []string      // the broker's record
	}{
		{"what ends in time is acked",
			func(s *stage, _ chan struct{}) workFunc {
				return s.work("restarted", 2500*time.Millisecond)
			},
			nil, 2500 * time.Millisecond, []string{
				"0s: delivered #1",
				"800ms: extended #1",
				"1.6s: extended #1",
				"2.4s: extended #1",
				"2.5s: acked #1",
			}},
		{"what takes longer is cancelled and given back",
			func(*stage, chan struct{}) workFunc { return takesAMinute },
			forcedError{}, 3 * sec, []string{
				"0s: delivered #1",
				"800ms: extended #1",
				"1.6s: extended #1",
				"2.4s: extended #1",
				"3s: nacked #1",
			}},
		{"what heeds nothing is abandoned by name",
			func(_ *stage, hang chan struct{}) workFunc {
				return hanging(nil, 1, hang)
			},
			abandonedError{"m1"}, 4 * sec, []string{
				"0s: delivered #1",
				"800ms: extended #1",
				"1.6s: extended #1",
				"2.4s: extended #1",
			}},
		{"what is done in spite of the cancel is acked",
			func(s *stage, _ chan struct{}) workFunc {
				return s.work("restarted", 3500*time.Millisecond)
			},
			forcedError{}, 3500 * time.Millisecond, []string{
				"0s: delivered #1",
				"800ms: extended #1",
				"1.6s: extended #1",
				"2.4s: extended #1",
				"3.5s: acked #1",
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newStage(t.Output(), 1), goleak.IgnoreCurrent()
				b, hang := newBroker(s.log, 2*sec, 1), make(chan struct{})
				require.NoError(t, b.Publish(t.Context(), newMessage(1, 1)))
				m := &Mandrill{
					log:     s.log,
					broker:  b,
					save:    nothing,
					restart: tt.restart(s, hang),
					slots:   4,
					drain:   2 * sec,
					grace:   1 * sec,
				}
				ctx, stop := context.WithTimeoutCause(
					t.Context(), sec, errStopped)
				defer stop()
				assert.Equal(t, tt.wantErr, m.Run(ctx))
				assert.Equal(t, tt.took, time.Since(s.start))
				assert.Equal(t, tt.want, b.story("m1"))
				abandoned, _ := errors.AsType[abandonedError](tt.wantErr)
				assert.Len(t, leaked(ignore), 2*len(abandoned))
				close(hang)
			})
		})
	}
}

// A message that was on its way when the signal came is given back at once. It
// is not even begun.
func TestMandrillGivesBackWhatIsOnItsWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t.Output(), 1)
		b := newBroker(s.log, 10*time.Second, 1)
		b.slow = map[string]time.Duration{"receive": time.Second}
		require.NoError(t, b.Publish(t.Context(), newMessage(1, 1)))
		m := &Mandrill{
			log:     s.log,
			broker:  b,
			save:    s.work("saved", time.Second),
			restart: s.work("restarted", time.Second),
			slots:   4,
		}
		ctx, stop := context.WithTimeoutCause(
			t.Context(), time.Second/2, errStopped)
		defer stop()
		assert.NoError(t, m.Run(ctx))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"1s: nacked #1",
		}, b.story("m1"))
		assert.Zero(t, s.count("saved")+s.count("restarted"))
	})
}

// A broker that does not answer does not hold us up either, and what it did not
// hear of has a name.
func TestMandrillNamesWhatItCouldNotSettle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t.Output(), 1)
		b := newBroker(s.log, time.Minute, 1)
		b.slow = map[string]time.Duration{"ack": time.Hour}
		require.NoError(t, b.Publish(t.Context(), newMessage(1, 1)))
		m := &Mandrill{
			log: s.log, broker: b, save: nothing, restart: nothing, slots: 4,
			grace: 3 * time.Second,
		}
		ctx, stop := context.WithTimeoutCause(
			t.Context(), time.Second, errStopped)
		defer stop()
		assert.Equal(t, abandonedError{"m1"}, m.Run(ctx))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"1.5s: ack refused #1: settlement took too long",
		}, b.story("m1"))
	})
}

// What nobody can do is a dead letter at once, with the reason.
func TestMandrillDeadLettersAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t.Output(), 1)
		b := newBroker(s.log, time.Minute, 1)
		require.NoError(t, publish(t.Context(), b, s.seed, 1, 0))
		m := &Mandrill{
			log: s.log, broker: b, save: nothing, slots: 1,
			restart: func(context.Context, Message) error {
				return permanentError{errNoSuchHost}
			},
		}
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"0s: dead-lettered #1: no such host",
		}, b.story("m1"))
	})
}

// A restart that hangs loses its lease at the limit, 18s, and is cancelled when
// the last extension has run out. It heeds that, and settles nothing.
func TestMandrillMaximumLease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, s.seed, 1, 0))
		d, err := b.Receive(t.Context())
		require.NoError(t, err)
		var cause error
		m := &Mandrill{
			log: s.log, broker: b, save: nothing, timeout: time.Hour,
			restart: func(ctx context.Context, _ Message) error {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return ctx.Err()
			},
		}
		m.handle(t.Context(), d, time.Now())
		assert.Equal(t, 19600*time.Millisecond, time.Since(s.start))
		assert.Equal(t, errLeaseLost, cause)
		assert.Zero(t, b.count("acked")+b.count("nacked"))
	})
}

// After the drain, a lease is extended no more. Work that ends after the rest
// of it has run out is not ours to settle.
func TestMandrillLetsGoInTheGrace(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		require.NoError(t, b.Publish(t.Context(), newMessage(1, 1)))
		m := &Mandrill{
			log: s.log, broker: b, save: nothing, slots: 1,
			restart: s.work("restarted", 5*time.Second), // heeds nothing
			drain:   time.Second, grace: 5 * time.Second,
		}
		ctx, stop := context.WithTimeoutCause(
			t.Context(), time.Second, errStopped)
		defer stop()
		assert.Equal(t, forcedError{}, m.Run(ctx))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"800ms: extended #1",
			"1.6s: extended #1",
			"3.6s: expired #1",
		}, b.story("m1"))
		assert.Empty(t, m.failures)
	})
}

// Work that ends its goroutine has not done it.
func TestMandrillGoexit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, s.seed, 1, 0))
		m := &Mandrill{
			log: s.log, broker: b, save: nothing, slots: 1, attempts: 1,
			restart: func(context.Context, Message) error {
				runtime.Goexit()
				return nil
			},
		}
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"0s: dead-lettered #1: failed 1 times: it did not return",
		}, b.story("m1"))
	})
}

// A dead letter that could not be sent is tried again, and not from the start.
func TestMandrillRemembersFailures(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(2*time.Second, 1)
		b.slow = map[string]time.Duration{"dead-letter": time.Hour}
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		m := &Mandrill{
			log: b.log, broker: b, save: nothing, slots: 1,
			restart: func(context.Context, Message) error {
				return errRefused
			},
		}
		ctx, stop := context.WithTimeoutCause(
			t.Context(), 10*time.Second, errStopped)
		defer stop()
		assert.Equal(t, abandonedError{"m1"}, m.Run(ctx))
		story := b.story("m1")
		assert.Contains(t, story[len(story)-1], "dead-letter refused #9")
		assert.Equal(t, 9, m.failures["m1"])
	})
}

// An ack that took too long is in doubt. When the message has come again, and
// its ack was heard, it is not any more.
func TestMandrillForgetsItsDoubts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 1)
		b.slow = map[string]time.Duration{"ack": time.Hour}
		require.NoError(t, publish(t.Context(), b, s.seed, 1, 0))
		m := &Mandrill{
			log: s.log, broker: b, save: nothing, restart: nothing, slots: 1,
		}
		handleNext := func() {
			d, err := b.Receive(t.Context())
			require.NoError(t, err)
			m.begin(d)
			m.handle(t.Context(), d, time.Now())
			m.end(d)
		}
		handleNext()
		assert.Equal(t, []string{"m1"}, m.names())
		b.slow = nil
		handleNext()
		assert.Equal(t, []string{
			"0s: delivered #1",
			"500ms: ack refused #1: settlement took too long",
			"2s: expired #1",
			"2s: delivered #2",
			"2s: acked #2",
		}, b.story("m1"))
		assert.Empty(t, m.names())
	})
}

// A panic in a handler itself costs one delivery: the lease runs out, and the
// message comes again. It is in the log, with its stack.
func TestMandrillSurvivesItsHandlers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		out := lines{panics: true} // at the first "failed"
		b := quietBroker(2*time.Second, 1)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		fails := errRefused
		m := &Mandrill{
			log:    slog.New(slog.NewTextHandler(&out, nil)),
			broker: b, save: nothing, slots: 1,
			restart: func(context.Context, Message) (err error) {
				err, fails = fails, nil
				return err
			},
		}
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"2s: expired #1",
			"2s: delivered #2",
			"2s: acked #2",
		}, b.story("m1"))
		assert.Equal(t, 1, out.count("handler panicked"))
		assert.Equal(t, 1, out.count("part3-errors.(*Mandrill).retry"))
	})
}

// The zero value of a time-out is not "at once".
func TestMandrillZeroValues(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, hang := newStage(t.Output(), 1), make(chan struct{})
		b := newBroker(s.log, time.Minute, 1)
		require.NoError(t, b.Publish(t.Context(), newMessage(1, 1)))
		m := &Mandrill{
			log: s.log, broker: b, save: nothing, slots: 4,
			restart: hanging(nil, 1, hang),
		}
		ctx, stop := context.WithTimeoutCause(
			t.Context(), time.Second, errStopped)
		defer stop()
		assert.Equal(t, abandonedError{"m1"}, m.Run(ctx))
		assert.Equal(t, 7*time.Second, time.Since(s.start))
		close(hang)
	})
}

// All that was published is acked or a dead letter, if nobody stops the
// service, whatever the seed; and what is delivered often is done once.
func TestService(t *testing.T) {
	happened := make(map[string]int)
	for seed := range uint64(50) {
		inBubble(t, func(t *testing.T) {
			var out bytes.Buffer
			ignore := goleak.IgnoreCurrent()
			args := []string{"-n", "20", "-seed", fmt.Sprint(seed)}
			assert.NoError(t, run(t.Context(), args, &out))
			assert.Empty(t, leaked(ignore))
			lines := func(what string) int {
				n := strings.Count(out.String(), "msg="+what+" ")
				happened[what] += n
				return n
			}
			acked, dead := lines("acked"), lines("dead-lettered")
			assert.Equal(t, 20, lines("published"))
			assert.Equal(t, 20, acked+dead)
			assert.Equal(t, 20, lines("saved"))
			assert.Equal(t, acked, lines("restarted"))
			assert.Equal(t, lines("nacked"), lines("failed"))
			assert.Contains(t, out.String(), fmt.Sprintf("msg=ended "+
				"published=20 acked=%d dead_lettered=%d held=0\n", acked, dead))
		})
	}
	assert.Greater(t, happened["dead-lettered"], 20)
	assert.Greater(t, happened["failed"], 20)
}

var errStopped = errors.New("terminated signal received")

// takesAMinute heeds its context.
func takesAMinute(ctx context.Context, _ Message) error {
	return sleep(ctx, time.Minute)
}

// nothing is work that is done at once.
func nothing(context.Context, Message) error { return nil }

// quietBroker returns a broker that does not log.
func quietBroker(lease time.Duration, room int) *broker {
	return newBroker(slog.New(slog.DiscardHandler), lease, room)
}
