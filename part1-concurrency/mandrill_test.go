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
				s, ignore := newStage(t.Output(), 1), goleak.IgnoreCurrent()
				s.broker = newBroker(s.log, 2*time.Second, 1)
				m := &Mandrill{
					broker:  s.broker,
					save:    s.work("saved", tt.save),
					restart: s.work("restarted", tt.restart),
					slots:   1,
				}
				assert.NoError(t, publish(t.Context(), m.broker, s.seed, 1, 0))
				assert.NoError(t, m.Run(t.Context()))
				assert.Equal(t, []string{
					"0s: delivered #1",
					"700ms: acked #1",
				}, s.broker.story("m1"))
				assert.Equal(t, 1, s.count("saved"))
				assert.Equal(t, 1, s.count("restarted"))
				assert.Empty(t, leaked(ignore))
			})
		})
	}
}

// Who has no slot takes no message: its lease would run out in our hands.
func TestMandrillTakesASlotFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t.Output(), 1)
		b := newBroker(s.log, 2*time.Second, 2)
		m := &Mandrill{
			broker:  b,
			save:    nothing,
			restart: s.work("restarted", 1500*time.Millisecond),
			slots:   1,
		}
		assert.NoError(t, publish(t.Context(), b, s.seed, 2, 0))
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"1.5s: delivered #1",
			"2.3s: extended #1",
			"3s: acked #1",
		}, b.story("m2"))
	})
}

// However it ends, Run has waited for all that it started.
func TestMandrillWaitsForItsHandlers(t *testing.T) {
	enough := errors.New("enough")
	inBubble(t, func(t *testing.T) {
		s, ignore := newStage(t.Output(), 1), goleak.IgnoreCurrent()
		b := newBroker(s.log, 2*time.Second, 3)
		m := &Mandrill{
			broker:  b,
			save:    s.work("saved", time.Second),
			restart: s.work("restarted", 3*time.Second),
			slots:   4,
		}
		for i := range 3 { // the broker stays open: a fourth may come
			assert.NoError(t, b.Publish(t.Context(), newMessage(s.seed, i+1)))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(500*time.Millisecond, func() { cancel(enough) })

		assert.ErrorIs(t, m.Run(ctx), enough)
		assert.Equal(t, 3*time.Second, time.Since(s.start))
		assert.Equal(t, 3, s.count("restarted"))
		assert.Empty(t, leaked(ignore))
	})
}

// The service as a whole: all that was published is saved, restarted and acked,
// once each, whatever the seed.
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
		})
	}
}

// nothing is work that is done at once.
func nothing(context.Context, Message) error { return nil }

// quietBroker returns a broker that does not log.
func quietBroker(lease time.Duration, room int) *broker {
	return newBroker(slog.New(slog.DiscardHandler), lease, room)
}
