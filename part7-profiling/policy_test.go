package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The policy, by reason: what the service does with a delivery, whether that
// counts as a failure, after what pause the message is delivered again, at what
// level the log says so, and how it all ends if the reason stays the same.
var policy = strings.TrimSpace(`
reason             | we do       | counts | pause | log   | how does it end?
done               | ack         | no     |       | INFO  | acked
failed             | retry       | yes    | 1s..  | WARN  | dead letter, 8
can't be done      | dead letter | no     |       | ERROR | dead letter, 1
panicked           | retry       | yes    | 1s..  | ERROR | dead letter, 8
did not return     | retry       | yes    | 1s..  | WARN  | dead letter, 8
timed out          | retry       | yes    | 1s..  | WARN  | dead letter, 8
cut short          | give back   | no     | none  | INFO  | too often, 17
lost, and done     | ack         | no     |       | WARN  | acked
lost, half done    | let go      | no     | none  | WARN  | too often, 17
`)

// TestPolicy lets the service handle each reason once, and then as often as it
// takes.
func TestPolicy(t *testing.T) {
	rows := strings.Split(policy, "\n")[1:]
	for _, row := range rows {
		cells := strings.Split(row, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		reason := cells[0]
		t.Run(reason, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				assert.Equal(t, cells[1:5], handledOnce(t, reason),
					"we do, counts, pause, log")
			})
			inBubble(t, func(t *testing.T) {
				assert.Equal(t, cells[5], inTheEnd(t, reason),
					"how does it end?")
			})
		})
	}
	assert.Len(t, rows, 9)
}

// workFor returns work that comes to that, after half a second.
func workFor(reason string) workFunc {
	return func(ctx context.Context, _ Message) error {
		time.Sleep(500 * time.Millisecond)
		switch reason {
		case "failed":
			return errRefused
		case "can't be done":
			return permanentError{errNoSuchHost}
		case "panicked":
			panic("on purpose")
		case "did not return":
			runtime.Goexit()
		case "timed out", "cut short", "lost, half done":
			return sleep(ctx, time.Hour)
		case "lost, and done":
			time.Sleep(2 * time.Second)
		}
		return nil
	}
}

// brokerFor returns a broker for that. With some of the reasons it is slow.
func brokerFor(t *testing.T, reason string) *broker {
	t.Helper()
	b := quietBroker(2*time.Second, 1)
	b.slow = make(map[string]time.Duration)
	switch reason {
	case "lost, and done", "lost, half done":
		b.slow["extend"] = time.Hour
	}
	require.NoError(t, publish(t.Context(), b, 1, 1, 0))
	return b
}

// handledOnce returns what the service did with the first delivery.
func handledOnce(t *testing.T, reason string) []string {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	b := brokerFor(t, reason)
	var failures memoryCounter
	m := newMandrill(b, func(m *Mandrill) {
		m.save, m.restart = workFor(reason), nothing
		m.timeout, m.failures, m.drain = 2*time.Second, &failures, 1
	})
	log := logTo(m)
	d, err := one(b.Receive(t.Context(), forever, 1))
	require.NoError(t, err)
	d.until = d.Asked.Add(m.lease)
	ctx, cancel := context.WithCancelCause(t.Context())
	if reason == "cut short" {
		time.AfterFunc(time.Second, func() { cancel(errDrainDeadline) })
	}
	do, why := m.handle(ctx, d)
	m.inFlight.begin(d)
	m.settle(ctx, d, do, why)
	assert.Empty(t, m.inFlight.ids(), "in flight")
	cancel(nil)
	assert.Nil(t, leaked(t, ignore), "goroutines left")

	counts := "no"
	if len(failures.counts) > 0 {
		counts = "yes"
	}
	pause, back := "", time.Now()
	if again, err := one(b.Receive(t.Context(), time.Minute, 1)); err == nil {
		assert.Equal(t, 2, again.Attempt)
		pause = "none"
		if took := time.Since(back).Round(time.Second); counts == "yes" {
			assert.LessOrEqual(t, took, time.Second)
			pause = "1s.."
		}
		require.NoError(t, again.Ack(t.Context()))
	}
	level := "INFO"
	for _, l := range []string{"WARN", "ERROR"} {
		if log.count("level="+l) > 0 {
			level = l
		}
	}
	return []string{string(do), counts, pause, level}
}

// inTheEnd returns how the service ends what goes wrong each time.
func inTheEnd(t *testing.T, reason string) string {
	t.Helper()
	b := brokerFor(t, reason)
	for range 100 { // lives of the service, where a shutdown is the reason
		m := newMandrill(b, func(m *Mandrill) {
			m.save, m.restart = workFor(reason), nothing
			m.timeout = 5 * time.Second
			if reason == "cut short" {
				m.drain = time.Millisecond
			}
		})
		at := 50 * time.Minute
		if reason == "cut short" {
			at = time.Second
		}
		runUntil(t, m, at)
		if b.holds() == 0 {
			break
		}
	}
	for _, e := range b.events() {
		switch {
		case e.What == "acked":
			return "acked"
		case e.What != "dead-lettered":
		case e.Reason.Error() == errTooOften.Error():
			return fmt.Sprintf("too often, %d", e.Attempt)
		default:
			return fmt.Sprintf("dead letter, %d", e.Attempt)
		}
	}
	return "not at all"
}

// Both errors are looked at: {save, restart} x what may become of each.
func TestJudge(t *testing.T) {
	permanent := permanentError{errNoSuchHost}
	drained := fmt.Errorf("%w: %w", errDrainDeadline, errRefused)
	for _, tt := range []struct {
		held             bool
		saved, restarted error
		want             outcome
	}{
		{true, nil, nil, toAck},
		{false, nil, nil, toAck},
		{true, errRefused, nil, toRetry},
		{true, nil, errRefused, toRetry},
		{true, permanent, nil, toDeadLetter},
		{true, nil, permanent, toDeadLetter},
		{true, permanent, errRefused, toDeadLetter},
		{true, drained, permanent, toDeadLetter},
		{true, nil, permanentError{drained}, toDeadLetter},
		{true, drained, nil, toGiveBack},
		{true, nil, drained, toGiveBack},
		{true, drained, drained, toGiveBack},
		{true, drained, errRefused, toRetry},
		{true, errRefused, drained, toRetry},
		{true, errTimedOut, errTimedOut, toRetry},
		{true, nil, errNoResult, toRetry},
		{true, errNoResult, nil, toRetry},
		{false, errRefused, nil, toLetGo},
		{false, nil, permanent, toLetGo},
		{false, drained, nil, toLetGo},
	} {
		do, why := judge(tt.held, tt.saved, tt.restarted)
		assert.Equal(t, tt.want, do, "held %t: save %v, restart %v",
			tt.held, tt.saved, tt.restarted)
		for _, err := range []error{tt.saved, tt.restarted} {
			if err != nil {
				assert.ErrorIs(t, why, err)
			}
		}
	}
	_, why := judge(true, nil, permanent)
	assert.ErrorIs(t, why, errNoSuchHost, "what is permanent has its reason")
}

// A library that was cancelled may say so in words of its own. It counts as
// cancelled if our context has ended, and as a failure if it has not. What is
// known to be permanent stays permanent, and a panic stays a panic.
func TestTry(t *testing.T) {
	own := errors.New("rpc error: code = Canceled")
	for _, tt := range []struct {
		name    string
		ended   error // why our context has ended, if it has
		returns error
		want    string
	}{
		{"nothing ended", nil, own, "rpc error: code = Canceled"},
		{"not ours", nil, context.Canceled, "context canceled"},
		{"the drain", errDrainDeadline, own,
			"drain deadline passed: rpc error: code = Canceled"},
		{"the drain, by its cause", errDrainDeadline,
			fmt.Errorf("restart: %w", errDrainDeadline),
			"restart: drain deadline passed"},
		{"the lease", errLeaseLost, own,
			"lease lost: rpc error: code = Canceled"},
		{"done anyway", errDrainDeadline, nil, ""},
		{"permanent", errDrainDeadline, permanentError{errNoSuchHost},
			"no such host"},
		{"panics", errDrainDeadline, (*typedNil)(nil),
			"panic: runtime error: invalid memory address or " +
				"nil pointer dereference"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			if tt.ended != nil {
				cancel(tt.ended)
			}
			m := newMandrill(quietBroker(time.Second, 1), func(*Mandrill) {})
			d := &Delivery{Message: newMessage(1, 1), Attempt: 1}
			err := m.try(ctx, d, func(context.Context, Message) error {
				return tt.returns
			})
			if tt.want == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, tt.want)
			}
			cancel(nil)
		})
	}
}

// A typedNil is an error whose methods panic if it is nil.
type typedNil struct{ text string }

// Error implements error.
func (e *typedNil) Error() string { return e.text }

// A dead letter has all reasons, in one line.
func TestDeadLetterReason(t *testing.T) {
	full := func(context.Context, Message) error {
		return errors.New("disk full")
	}
	for want, restart := range map[string]workFunc{
		"failed 1 times: disk full; restart refused": refused,
		"disk full; no such host": func(context.Context, Message) error {
			return permanentError{errNoSuchHost}
		},
	} {
		inBubble(t, func(t *testing.T) {
			b := quietBroker(2*time.Second, 1)
			require.NoError(t, publish(t.Context(), b, 1, 1, 0))
			var failures memoryCounter
			m := newMandrill(b, func(m *Mandrill) {
				m.save, m.restart, m.maxFailures = full, restart, 1
				m.failures = &failures
			})
			assert.NoError(t, m.Run(t.Context()))
			assert.Equal(t, "0s: dead-lettered #1: "+want, b.story("m1")[1])
			assert.Empty(t, failures.counts, "counts left")
		})
	}
}

// What is done is not done again, by whichever delivery. A caller that waits in
// vain says so.
func TestLedger(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ctx, calls := t.Context(), 0
		l := ledger{db: &memoryDatabase{}}
		block := make(chan struct{})
		work := l.once("restarted", func(_ context.Context, msg Message) error {
			calls++
			switch msg.ID {
			case "m1":
				time.Sleep(time.Second)
			case "m2":
				<-block
			case "m3":
				if calls == 3 {
					return errRefused
				}
			}
			return nil
		})
		start, both := time.Now(), make(chan error, 2)
		for range 2 {
			go func() { both <- work(ctx, newMessage(1, 1)) }()
		}
		assert.NoError(t, <-both)
		assert.NoError(t, <-both)
		assert.Equal(t, time.Second, time.Since(start), "the second one waited")
		assert.Equal(t, 1, calls, "m1 done")

		go func() { both <- work(ctx, newMessage(1, 2)) }()
		synctest.Wait()
		brief, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		assert.Equal(t, errInProgress, work(brief, newMessage(1, 2)))
		for range 100 { // the turn may be free when the context has ended
			assert.Error(t, work(brief, newMessage(1, 3)))
		}
		assert.Equal(t, 2, calls, "begun")

		assert.Equal(t, errRefused, work(ctx, newMessage(1, 3)))
		assert.NoError(t, work(ctx, newMessage(1, 3)), "a failure is repeated")
		assert.Equal(t, 4, calls, "begun")
		close(block)
		assert.NoError(t, <-both)
		assert.Empty(t, l.turns, "turns left")
	})
}

// A strictDatabase refuses a context that has ended, and fails if it is gone.
type strictDatabase struct {
	memoryDatabase
	gone bool
}

// isDone implements database.
func (db *strictDatabase) isDone(
	ctx context.Context, what string,
) (bool, error) {
	if db.gone {
		return false, errors.New("database gone")
	}
	return db.memoryDatabase.isDone(ctx, what)
}

// markDone implements database.
func (db *strictDatabase) markDone(ctx context.Context, what string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return db.memoryDatabase.markDone(ctx, what)
}

// What is done is written down even if we are stopped in that instant. If the
// ledger can't be read, nothing is done.
func TestLedgerAndItsDatabase(t *testing.T) {
	db, calls := &strictDatabase{}, 0
	l := ledger{db: db}
	ctx, cancel := context.WithCancel(t.Context())
	work := l.once("restarted", func(context.Context, Message) error {
		calls++
		cancel()
		return nil
	})
	assert.NoError(t, work(ctx, newMessage(1, 1)))
	assert.NoError(t, work(t.Context(), newMessage(1, 1)))
	assert.Equal(t, 1, calls, "restarts of m1")
	db.gone = true
	assert.EqualError(t, work(t.Context(), newMessage(1, 2)), "database gone")
	assert.Equal(t, 1, calls, "restarts")
}

// Nothing is lost over a stop: neither an error that is joined to it, nor one
// that has nothing to do with it.
func TestUnlessStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	assert.Equal(t, context.Canceled, unlessStopped(ctx, context.Canceled))
	cancel(errStopped)
	joined := errors.Join(errStopped, errRefused)
	for _, tt := range []struct{ err, want error }{
		{nil, nil},
		{errStopped, nil},
		{context.Canceled, nil},
		{fmt.Errorf("consumer: %w", errStopped), nil},
		{errRefused, errRefused},
		{joined, joined},
		{&abandonedError{[]string{"m1"}}, &abandonedError{[]string{"m1"}}},
	} {
		assert.Equal(t, tt.want, unlessStopped(ctx, tt.err))
	}
}

// The pauses double, less a share of up to a half, and end at a minute. Seven
// of them survive a minute without a database.
func TestBackoff(t *testing.T) {
	for seed := range uint64(100) {
		full, sum := time.Second, time.Duration(0)
		for n := 1; n <= 30; n++ {
			got := backoff(seed, newMessage(seed, 1), time.Second, n)
			assert.LessOrEqual(t, got, full)
			assert.GreaterOrEqual(t, got, full/2)
			if full = min(2*full, time.Minute); n <= 7 {
				sum += got
			}
		}
		assert.Greater(t, sum, time.Minute, "pauses of a message")
	}
	assert.NotEqual(t, backoff(1, newMessage(1, 1), time.Second, 5),
		backoff(1, newMessage(1, 2), time.Second, 5),
		"messages don't come back together")
	assert.NotEqual(t, backoff(1, newMessage(1, 1), time.Second, 5),
		backoff(2, newMessage(1, 1), time.Second, 5),
		"nor do those of another seed")
}
