package main

import (
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

// The policy: what becomes of a message by what became of save (the rows) and
// of restart (the columns). The service decides each cell in a run of its own.
var policy = strings.TrimSpace(`
save \ restart | ok        | failed    | panicked  | timed out | lease lost
ok             | acked     | again     | again     | again     | let go
failed         | again     | again     | again     | again     | let go
panicked       | again     | again     | again     | again     | let go
timed out      | again     | again     | again     | again     | let go
lease lost     | let go    | let go    | let go    | let go    | let go
`)

func TestPolicy(t *testing.T) {
	rows := strings.Split(policy, "\n")
	columns := strings.Split(rows[0], "|")[1:]
	cells := 0
	for _, row := range rows[1:] {
		cell := strings.Split(row, "|")
		save := strings.TrimSpace(cell[0])
		for i, want := range cell[1:] {
			restart := strings.TrimSpace(columns[i])
			want := strings.TrimSpace(want)
			t.Run(fmt.Sprintf("%s, %s", save, restart), func(t *testing.T) {
				cells++
				inBubble(t, func(t *testing.T) {
					assert.Equal(t, want, becomes(t, save, restart))
				})
			})
		}
	}
	assert.Equal(t, 25, cells)
}

// becomes lets the service handle a message once, and says what it did with it.
func becomes(t *testing.T, save, restart string) string {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	b := newBroker(slog.New(slog.DiscardHandler), 2*time.Second, 1)
	lost := save == "lease lost" || restart == "lease lost"
	if lost { // because no extension arrives
		b.slow = map[string]time.Duration{"extend": time.Hour}
	}
	work := func(how string) workFunc {
		return func(ctx context.Context, _ Message) error {
			time.Sleep(500 * time.Millisecond)
			switch how {
			case "failed":
				return errRefused
			case "panicked":
				panic("on purpose")
			case "timed out", "lease lost":
				return sleep(ctx, time.Hour)
			}
			return nil
		}
	}
	m := &Mandrill{
		log: b.log, broker: b, save: work(save), restart: work(restart),
		timeout: 3 * time.Second, // longer than a lease
	}
	require.NoError(t, publish(t.Context(), b, 1, 1, 0))
	d, err := b.Receive(t.Context())
	require.NoError(t, err)
	m.handle(t.Context(), d, time.Now())
	assert.Nil(t, leaked(ignore))

	// A failure is counted, and nothing else is.
	counted := map[string]int{"again": 1}
	got := "let go"
	switch {
	case b.count("acked") == 1:
		got = "acked"
	case b.count("nacked") == 1:
		got = "again"
	case b.count("dead-lettered") == 1:
		got = "dead letter"
	case b.count("ack refused")+b.count("nack refused") > 0:
		got = "tried in vain"
	}
	assert.Equal(t, counted[got], m.failures["m1"])
	return got
}

// Beside the table: what nobody can do is a dead letter at once, and what a
// shutdown cuts short does not count.
func TestPolicyBesideTheTable(t *testing.T) {
	permanent := permanentError{errNoSuchHost}
	tests := []struct {
		name             string
		saved, restarted error
		want             outcome
	}{
		{"all went well", nil, nil, toAck},
		{"nobody can do it", nil, permanent, toDeadLetter},
		{"nobody can do it, and more", errRefused, permanent, toDeadLetter},
		{"the shutdown cut it short", nil, errDrainDeadline, toGiveBack},
		{"the shutdown cut both short",
			errDrainDeadline, errDrainDeadline, toGiveBack},
		{"it failed before that", errRefused, errDrainDeadline, toRetry},
		{"another handler has it", nil, errStillAtIt, toGiveBack},
		{"its goroutine ended", nil, errNoResult, toRetry},
		{"somebody else's cancel", nil, context.Canceled, toRetry},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, judge(true, tt.saved, tt.restarted))
			assert.Equal(t, toLetGo, judge(false, tt.saved, tt.restarted))
		})
	}
}

// An attempt says why its context ended, if that is why it failed.
func TestAttempt(t *testing.T) {
	asks := func(ctx context.Context, _ Message) error {
		<-ctx.Done()
		return ctx.Err() // as most of the world does
	}
	hedges := func(context.Context, Message) error {
		return context.Canceled // of a call that lost a race to another
	}
	fails := func(ctx context.Context, _ Message) error {
		<-ctx.Done()
		return errRefused // for a reason of its own
	}
	joins := func(ctx context.Context, _ Message) error {
		<-ctx.Done()
		return errors.Join(errRefused, ctx.Err())
	}
	tests := []struct {
		name string
		work workFunc
		want error
	}{
		{"it asks its context", asks, errTimedOut},
		{"somebody else's cancel", hedges, context.Canceled},
		{"a reason of its own", fails, errRefused},
		{"a reason, joined", joins, errors.Join(errRefused,
			context.DeadlineExceeded)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				err := attempt(t.Context(), newMessage(1, 1), tt.work,
					time.Second)
				assert.Equal(t, tt.want, err)
			})
		})
	}
}

// What is delivered twice is done once, also side by side, also after a failure
// and a panic.
func TestLedger(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t.Output(), 1)
		var l ledger
		calls := 0
		work := l.once("restarted", func(
			ctx context.Context, msg Message,
		) error {
			switch calls++; calls {
			case 1:
				return errRefused
			case 2:
				panic("on purpose")
			}
			return s.work("restarted", time.Second)(ctx, msg)
		})
		msg := newMessage(1, 1)
		assert.ErrorIs(t, work(t.Context(), msg), errRefused)
		assert.Panics(t, func() { work(t.Context(), msg) })
		errs := make(chan error, 3)
		for range 3 {
			go func() { errs <- work(t.Context(), msg) }()
		}
		for range 3 {
			assert.NoError(t, <-errs)
		}
		assert.Equal(t, []time.Duration{time.Second}, s.when("restarted"))
		assert.Equal(t, 3, calls)

		// Who waits for a turn gives up with its context.
		block := make(chan struct{})
		slow := l.once("saved", func(context.Context, Message) error {
			<-block
			return nil
		})
		go slow(t.Context(), msg)
		ctx, cancel := context.WithTimeoutCause(
			t.Context(), time.Second, errTimedOut)
		defer cancel()
		time.Sleep(time.Millisecond)
		assert.ErrorIs(t, slow(ctx, msg), errStillAtIt)
		cancel()
		for range 100 { // the turn is free, and the context has ended
			assert.Error(t, work(ctx, newMessage(1, 2)))
		}
		assert.Equal(t, 3, calls)
		close(block)
	})
}

// The pauses double, less a share of up to a half, and have a limit.
func TestBackoff(t *testing.T) {
	for seed := range uint64(100) {
		for n := 1; n <= 30; n++ {
			full := min(50*time.Millisecond<<min(n-1, 20), time.Minute)
			got := backoff(seed, newMessage(seed, 1), n)
			assert.LessOrEqual(t, got, full)
			assert.GreaterOrEqual(t, got, full/2)
		}
	}
	assert.NotEqual(t, backoff(1, newMessage(1, 1), 5),
		backoff(1, newMessage(1, 2), 5), "messages don't come back together")
}
