package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// errStopped is the cause when a test stops the service.
var errStopped = errors.New("terminated signal received")

// newMandrill returns a service on a broker, with the broker's log. Its work is
// done at once, unless set says otherwise.
func newMandrill(b *broker, set func(m *Mandrill)) *Mandrill {
	m := &Mandrill{
		log: b.log, queue: b, lease: b.lease, save: nothing, restart: nothing,
		slots: 1, seed: 1,
	}
	set(m)
	m.setDefaults()
	return m
}

// runUntil runs the service and stops it at that time. It returns what Run
// returns.
func runUntil(t *testing.T, m *Mandrill, at time.Duration) error {
	t.Helper()
	ctx, stop := context.WithTimeoutCause(t.Context(), at, errStopped)
	defer stop()
	return m.Run(ctx)
}

// startService runs the service until the test ends, and then waits until Run
// has returned.
func startService(t *testing.T, m *Mandrill) {
	t.Helper()
	var service sync.WaitGroup
	t.Cleanup(service.Wait) // t.Context() has ended by then
	service.Go(func() { assert.NoError(t, m.Run(t.Context())) })
}

// publishOnly publishes messages m1 to mn, and leaves the queue open.
func publishOnly(t *testing.T, b *broker, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, b.Publish(t.Context(), newMessage(1, i+1)))
	}
}

// assertAbandoned checks that an error names these messages as abandoned.
func assertAbandoned(t *testing.T, err error, want ...string) {
	t.Helper()
	abandoned, ok := errors.AsType[*abandonedError](err)
	if assert.True(t, ok, "want an abandonedError, got %v", err) {
		assert.Equal(t, want, abandoned.ids, "abandoned")
		assert.EqualError(t, abandoned,
			"abandoned "+strings.Join(want, ", "))
	}
}

// refused is work that fails at once.
func refused(context.Context, Message) error { return errRefused }

// newDelivery returns a delivery whose lease has just begun, and lasts for an
// hour. The broker accepts everything.
func newDelivery(msg Message) *Delivery {
	return &Delivery{
		Message: msg, Attempt: 1, until: time.Now().Add(time.Hour),
		verbs: accepting{},
	}
}

// accepting verbs have no broker.
type accepting struct{}

// Extend implements verbs.
func (accepting) Extend(context.Context) error { return nil }

// Ack implements verbs.
func (accepting) Ack(context.Context) error { return nil }

// Nack implements verbs.
func (accepting) Nack(context.Context, time.Duration) error { return nil }

// DeadLetter implements verbs.
func (accepting) DeadLetter(context.Context, error) error { return nil }

// takes returns work that takes that long, unless its context ends.
func takes(d time.Duration) workFunc {
	return func(ctx context.Context, _ Message) error { return sleep(ctx, d) }
}

// ignoring returns work that takes that long, whatever its context does.
func ignoring(d time.Duration) workFunc {
	return func(context.Context, Message) error {
		time.Sleep(d)
		return nil
	}
}

// quietBroker returns a broker that does not log.
func quietBroker(lease time.Duration, room int) *broker {
	return newBroker(slog.New(slog.DiscardHandler), lease, room)
}

// lines is a log that a test can read.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count returns how often something is in the log.
func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// copy returns the log as it is now.
func (l *lines) copy() *lines {
	l.mu.Lock()
	defer l.mu.Unlock()
	var c lines
	c.text.WriteString(l.text.String())
	return &c
}

// logTo makes the service log to a new lines, and returns it.
func logTo(m *Mandrill) *lines {
	var l lines
	m.log = slog.New(slog.NewTextHandler(&l, nil))
	return &l
}

// A replica is one process's way to the broker. Once it is silent, nothing that
// it says arrives, and it hears nothing: so does a process that was killed, or
// cut off.
type replica struct {
	queue
	silent atomic.Bool
}

// Receive implements queue.
func (r *replica) Receive(
	ctx context.Context, wait time.Duration, most int,
) ([]*Delivery, error) {
	if r.silent.Load() {
		return nil, cmp.Or(sleep(ctx, wait), errNothing)
	}
	batch, err := r.queue.Receive(ctx, wait, most)
	for _, d := range batch {
		d.verbs = &replicaVerbs{r, d.verbs}
	}
	return batch, err
}

// one returns the only delivery of a batch.
func one(batch []*Delivery, err error) (*Delivery, error) {
	if err != nil {
		return nil, err
	}
	return batch[0], nil
}

type replicaVerbs struct {
	of *replica
	verbs
}

// cutOff blocks until ctx ends if the replica is silent.
func (v *replicaVerbs) cutOff(ctx context.Context) error {
	if v.of.silent.Load() {
		return sleep(ctx, forever)
	}
	return nil
}

// Extend implements verbs, unless the replica is cut off.
func (v *replicaVerbs) Extend(ctx context.Context) error {
	if err := v.cutOff(ctx); err != nil {
		return err
	}
	return v.verbs.Extend(ctx)
}

// Ack implements verbs, unless the replica is cut off.
func (v *replicaVerbs) Ack(ctx context.Context) error {
	if err := v.cutOff(ctx); err != nil {
		return err
	}
	return v.verbs.Ack(ctx)
}

// Nack implements verbs, unless the replica is cut off.
func (v *replicaVerbs) Nack(ctx context.Context, delay time.Duration) error {
	if err := v.cutOff(ctx); err != nil {
		return err
	}
	return v.verbs.Nack(ctx, delay)
}

// DeadLetter implements verbs, unless the replica is cut off.
func (v *replicaVerbs) DeadLetter(ctx context.Context, reason error) error {
	if err := v.cutOff(ctx); err != nil {
		return err
	}
	return v.verbs.DeadLetter(ctx, reason)
}

// A countFunc is a counter that fails or panics as a test wants it to.
type countFunc func() (int, error)

// add implements counter.
func (f countFunc) add(context.Context, string) (int, error) { return f() }

// forget implements counter.
func (f countFunc) forget(context.Context, string) error {
	_, err := f()
	return err
}

// panics does what its name says.
func panics() { panic("on purpose") }

// A verdictRow is a run of a lesson and its verdict.
type verdictRow struct {
	name  string   // "mistake: ..." or "fix: ..."
	run   int      // its number on that side, from 0
	flags []string // for the command
	want  verdict
}

// assertVerdicts plays each run in a process of its own, as the command does,
// and compares the verdicts. Figures that differ from run to run are left out.
func assertVerdicts(t *testing.T, l lesson, rows []verdictRow) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			list, side := l.mistakes, "mistake"
			if strings.HasPrefix(row.name, "fix") {
				list, side = l.fix, "fix"
			}
			c := list[row.run].child
			if c.elsewhere() {
				t.Skipf("needs %s, and there: go test -run Lesson%02d "+
					"./part7-profiling", c.only, l.number)
			}
			endings, err := c.watch(t.Context(), t.Output(), row.run,
				append(row.flags, side, strconv.Itoa(l.number))...)
			require.NoError(t, err)
			got := c.verdictOn(endings)
			t.Log(got.text)
			got.text = regexp.MustCompile(`~\d+`).
				ReplaceAllString(got.text, "~")
			assert.Equal(t, row.want, got)
		})
	}
}

// assertVerdicts passes flags on, which watchRun does not.
var _ = watchRun

// get returns the status and the text of a page.
func get(ctx context.Context, url string) (status int, text string) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0, err.Error()
	}
	req.Close = true // leave no connection, and no goroutine that reads it
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}
