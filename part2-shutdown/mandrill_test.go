package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// What somebody else has settled, or has now, is not ours any more.
func TestMandrillForgetsWhatIsNotItsOwn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(time.Second, 1)
		m := &Mandrill{broker: b}
		require.NoError(t, b.Publish(t.Context(), newMessage(1, 1)))
		first, err := b.Receive(t.Context())
		require.NoError(t, err)
		second, err := b.Receive(t.Context()) // a second later
		require.NoError(t, err)

		m.track(first, true)
		m.giveBack(t.Context(), first)
		assert.Empty(t, m.names(), "lease lost")
		require.NoError(t, second.Ack(t.Context()))
		m.track(first, true)
		m.settle(t.Context(), first, first.Ack)
		assert.Empty(t, m.names(), "already settled")
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

// All that was published is saved, restarted and acked, once each, if nobody
// stops the service, whatever the seed.
func TestService(t *testing.T) {
	for seed := range uint64(20) {
		inBubble(t, func(t *testing.T) {
			var out bytes.Buffer
			ignore := goleak.IgnoreCurrent()
			args := []string{"-n", "20", "-seed", fmt.Sprint(seed)}
			assert.NoError(t, run(t.Context(), args, &out))
			assert.Empty(t, leaked(ignore))
			for _, what := range []string{
				"published", "delivered", "saved", "restarted", "acked",
			} {
				lines := strings.Count(out.String(), "msg="+what+" ")
				assert.Equal(t, 20, lines, what)
			}
			assert.Contains(t, out.String(), "msg=ended published=20 "+
				"acked=20 nacked=0 abandoned=0 undelivered=0\n")
		})
	}
}

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
