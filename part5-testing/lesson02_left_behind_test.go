package main

import (
	"context"
	"log"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestMistake02Quiet turns off the log of the whole process.
func TestMistake02Quiet(t *testing.T) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	b := newBroker(slog.Default(), time.Second, 1)

	publishOnly(t, b, 1)

	assert.Equal(t, 1, b.count("published"), "published")
}

// TestMistake02Logs is right, unless another test has already set the default.
func TestMistake02Logs(t *testing.T) {
	var printed lines
	log.SetOutput(&printed)
	defer log.SetOutput(os.Stderr)
	b := newBroker(slog.Default(), time.Second, 1)

	publishOnly(t, b, 1)

	assert.Equal(t, 1, printed.count("published id=m1"), "in the log")
}

// TestFix02Quiet gives the broker a log that nobody reads.
func TestFix02Quiet(t *testing.T) {
	b := newBroker(slog.New(slog.DiscardHandler), time.Second, 1)

	publishOnly(t, b, 1)

	assert.Equal(t, 1, b.count("published"), "published")
}

// TestFix02Logs gives the broker a log of its own, and reads it.
func TestFix02Logs(t *testing.T) {
	var printed lines
	b := newBroker(slog.New(slog.NewTextHandler(&printed, nil)), time.Second, 1)

	publishOnly(t, b, 1)

	assert.Equal(t, 1, printed.count("msg=published id=m1"), "in the log")
}

// runOne runs the service for one message.
func runOne(t *testing.T, restart workFunc) {
	t.Helper()
	b := quietBroker(10*time.Second, 1)
	require.NoError(t, publish(t.Context(), b, 1, 1, 0))
	m := newMandrill(b, func(m *Mandrill) { m.restart = restart })
	require.NoError(t, m.Run(t.Context()))
}

// TestMistake02Short runs beside the next test. Each of them looks for leaks
// when it ends.
func TestMistake02Short(t *testing.T) {
	t.Parallel()
	defer goleak.VerifyNone(t)
	runOne(t, nothing)
}

func TestMistake02Long(t *testing.T) {
	t.Parallel()
	defer goleak.VerifyNone(t)
	runOne(t, takes(time.Second))
}

// TestFix02Short and the next test do not look for leaks. TestMain does, when
// all tests have ended.
func TestFix02Short(t *testing.T) {
	t.Parallel()
	runOne(t, nothing)
}

func TestFix02Long(t *testing.T) {
	t.Parallel()
	runOne(t, takes(time.Second))
}

// notifying returns a service, and a channel that gets the ID of each message
// that is restarted. It has room for one.
func notifying(b *broker) (m *Mandrill, restarted <-chan string) {
	ids := make(chan string, 1)
	return newMandrill(b, func(m *Mandrill) {
		m.restart = func(_ context.Context, msg Message) error {
			ids <- msg.ID
			return nil
		}
	}), ids
}

// TestMistake02Forgets starts a service, and does not stop it.
func TestMistake02Forgets(t *testing.T) {
	b := quietBroker(time.Second, 1)
	m, restarted := notifying(b)

	go m.Run(context.Background())

	publishOnly(t, b, 1)
	assert.Equal(t, "m1", <-restarted)
}

// TestFix02Stops stops the service when it ends, and waits for it.
func TestFix02Stops(t *testing.T) {
	b := quietBroker(time.Second, 1)
	m, restarted := notifying(b)

	startService(t, m)

	publishOnly(t, b, 1)
	assert.Equal(t, "m1", <-restarted)
}

// TestMistake02Cleanup gives a message back when it ends.
func TestMistake02Cleanup(t *testing.T) {
	b := quietBroker(time.Minute, 1)
	publishOnly(t, b, 1)
	d, err := b.Receive(t.Context(), time.Second)
	require.NoError(t, err)

	t.Cleanup(func() {
		assert.NoError(t, d.Nack(t.Context(), 0), "give back")
	})

	assert.Equal(t, 1, d.Attempt, "attempt")
}

// TestFix02Cleanup gives it back in a context that outlives the test.
func TestFix02Cleanup(t *testing.T) {
	b := quietBroker(time.Minute, 1)
	publishOnly(t, b, 1)
	d, err := b.Receive(t.Context(), time.Second)
	require.NoError(t, err)

	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		assert.NoError(t, d.Nack(ctx, 0), "give back")
	})

	assert.Equal(t, 1, d.Attempt, "attempt")
}

func TestLesson02LeftBehind(t *testing.T) {
	playTests(t, lesson02, []testRun{
		{"mistake: the log is gone", "mistake", 0,
			verdict{"red: TestMistake02Logs, without a bug", true}},
		{"fix: each test has a log", "fix", 0,
			verdict{"green: TestFix02Logs, TestFix02Quiet", false}},
		{"mistake: goleak looks while tests run in parallel", "mistake", 1,
			verdict{"red: TestMistake02Long, TestMistake02Short" +
				", without a bug", true}},
		{"fix: goleak looks at the end", "fix", 1,
			verdict{"green: TestFix02Long, TestFix02Short", false}},
		{"mistake: a service is left running", "mistake", 2,
			verdict{"red: exit status 1, goroutines left: 2", true}},
		{"fix: it is stopped, and waited for", "fix", 2,
			verdict{"green: TestFix02Stops, goroutines left: 0", false}},
		{"mistake: the context has ended", "mistake", 3,
			verdict{"red: TestMistake02Cleanup, without a bug", true}},
		{"fix: a context that outlives the test", "fix", 3,
			verdict{"green: TestFix02Cleanup", false}},
	})
}

// Alone, the test that is red after another one is green.
func TestGreenAlone(t *testing.T) {
	playTests(t, lesson{fix: []sceneRun{
		tests(leftTests, "TestMistake02Logs", child{verdict: mustBeGreen}),
	}}, []testRun{
		{"the log is there", "fix", 0,
			verdict{"green: TestMistake02Logs", false}},
	})
}
