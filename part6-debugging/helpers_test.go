package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
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
	ctx context.Context, wait time.Duration,
) (*Delivery, error) {
	if r.silent.Load() {
		return nil, cmp.Or(sleep(ctx, wait), errNothing)
	}
	d, err := r.queue.Receive(ctx, wait)
	if err == nil {
		d.verbs = &replicaVerbs{r, d.verbs}
	}
	return d, err
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
					"./part6-debugging", c.only, l.number)
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

// watchTest runs a test of this package in a process of its own, which finds in
// its environment what it should do.
func watchTest(t *testing.T, test, what string, hangs bool) ending {
	t.Helper()
	c := &child{
		env:   []string{selfEnv + "=" + what},
		hangs: hangs,
		binary: func() (path string, remove func(), err error) {
			path, err = os.Executable()
			return path, func() {}, err
		},
	}
	endings, err := c.watch(
		t.Context(), io.Discard, 0, "-test.run=^"+test+"$")
	require.NoError(t, err)
	return endings[0]
}

// assertVerdicts passes flags on, which watchRun does not.
var _ = watchRun
