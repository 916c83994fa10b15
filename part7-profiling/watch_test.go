package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A handler that is stuck is in the log, with its stack, once: at the first
// look after its time-out and the grace, which are 11s. A slow one is not.
func TestWatch(t *testing.T) {
	tests := []struct {
		name      string
		takes     time.Duration // a restart that ignores its context
		looksAt   time.Duration
		want      int // handlers that are reported
		snapshots int
		ended     int // handlers that are reported as not stuck any more
	}{
		{"stuck, at 11s", time.Minute, 11500 * time.Millisecond, 0, 0, 0},
		{"stuck, at 12s", time.Minute, 12500 * time.Millisecond, 2, 1, 0},
		{"stuck, at 59s", time.Minute, 59500 * time.Millisecond, 2, 1, 0},
		{"not any more", time.Minute, 61500 * time.Millisecond, 2, 1, 2},
		{"slow", 9 * time.Second, 59500 * time.Millisecond, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := quietBroker(time.Hour, 10)
				snapshots := 0
				m := newMandrill(b, func(m *Mandrill) {
					m.slots, m.restart = 2, ignoring(tt.takes)
					m.drain = time.Hour
					m.snapshot = func() (string, error) {
						snapshots++
						return "stuck-1.trace", nil
					}
				})
				log := logTo(m)
				publishOnly(t, b, 2)
				startService(t, m)
				time.Sleep(tt.looksAt)
				assert.Equal(t, tt.want,
					log.count("attempt=1 stage=working for=12s"), "reports")
				assert.Equal(t, tt.want, log.count("msg=stuck")-
					log.count(" in="), "once each")
				assert.Equal(t, tt.want, log.count(
					`in="(*Mandrill).saveAndRestart.func2 (attempt.go:`),
					"stacks")
				assert.Equal(t, tt.want, log.count("(helpers_test.go:"),
					"where they hang")
				assert.Zero(t, log.count("(*keeper)"), "who only waits")
				assert.Zero(t, log.count("(*Mandrill).handle ("))
				assert.Equal(t, tt.snapshots, snapshots, "one for both")
				assert.Equal(t, tt.ended, log.count("not stuck any more"))
			})
		})
	}
}

// The watch knows the stages: work has its time-out and the grace, settling has
// a lease and the grace, and what is in doubt has no handler.
func TestWatchStages(t *testing.T) {
	for _, tt := range []struct {
		stage stage
		want  time.Duration // after which it is stuck; 0: never
	}{
		{isWorking, 11 * time.Second},
		{isSettling, 31 * time.Second},
		{isInDoubt, 0},
	} {
		inBubble(t, func(t *testing.T) {
			m := newMandrill(quietBroker(30*time.Second, 1), func(*Mandrill) {})
			d := newDelivery(newMessage(1, 1))
			m.inFlight.begin(d)
			switch tt.stage {
			case isSettling:
				m.inFlight.settles(d)
			case isInDoubt:
				m.inFlight.end(d, errNoAnswer, time.Hour)
			}
			e := m.inFlight.list()[0]
			assert.Equal(t, tt.stage, e.stage)
			time.Sleep(tt.want)
			assert.False(t, m.isStuck(e), "%s after %v", tt.stage, tt.want)
			time.Sleep(time.Nanosecond)
			assert.Equal(t, tt.want > 0, m.isStuck(e), "and 1ns")
			time.Sleep(40 * time.Minute)
			assert.Equal(t, tt.want > 0, m.isStuck(e), "in the end")
		})
	}
}

// A handler that settles during an outage of the broker is not stuck while its
// lease lasts.
func TestWatchSettling(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(10*time.Second, 1)
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = takes(9 * time.Second)
		})
		log := logTo(m)
		b.fail = func(verb, _ string) (bool, error) {
			if verb == "ack" && time.Since(b.start) < 14*time.Second {
				return false, errUnreachable
			}
			return false, nil
		}
		publishOnly(t, b, 1)
		startService(t, m)
		time.Sleep(time.Minute)
		assert.Greater(t, log.count("not settled"), 10)
		assert.Equal(t, 1, log.count("msg=settled"))
		assert.Zero(t, log.count("msg=stuck"))
	})
}

// The stack of a goroutine that the work has started is in the log as well, and
// one with labels of its own.
func TestWatchSeesAll(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMandrill(quietBroker(time.Hour, 1), func(*Mandrill) {})
		log, end := logTo(m), make(chan struct{})
		d := newDelivery(newMessage(1, 1))
		m.inFlight.begin(d)
		go labelled(t.Context(), d, func(ctx context.Context) {
			pprof.Do(ctx, pprof.Labels("host", `c"1`), func(context.Context) {
				<-end
			})
		})
		d2 := newDelivery(newMessage(1, 1))
		d2.Attempt = 2
		go labelled(t.Context(), d2, func(context.Context) { <-end })
		time.Sleep(time.Minute)
		assert.NoError(t, (&watcher{Mandrill: m}).look())
		assert.Equal(t, 1, log.count(
			"TestWatchSeesAll.func1.2.1 (watch_test.go:"))
		assert.Zero(t, log.count("TestWatchSeesAll.func1.3 ("), "attempt 2")
		close(end)
	})
}

// Many stuck handlers are many lines, but only ten stacks, and it doesn't take
// long. There is one snapshot a minute.
func TestWatchManyStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		snapshots := 0
		m := newMandrill(quietBroker(time.Hour, 1), func(m *Mandrill) {
			m.snapshot = func() (string, error) {
				snapshots++
				return "", errors.New("full")
			}
		})
		log, end := logTo(m), make(chan struct{})
		w := &watcher{Mandrill: m}
		hang := func(n int) {
			d := newDelivery(newMessage(1, n))
			m.inFlight.begin(d)
			go labelled(t.Context(), d, func(context.Context) { <-end })
		}
		for n := range 2000 {
			hang(n)
		}
		time.Sleep(20 * time.Second)
		assert.NoError(t, w.look())
		assert.Equal(t, 2000, log.count("attempt=1 stage=working for=20s"))
		assert.Equal(t, 10, log.count("TestWatchManyStuck.func1.2.1 ("))
		assert.Equal(t, 1, log.count(`msg="no snapshot" err=full`))
		hang(2001)
		time.Sleep(20 * time.Second)
		assert.NoError(t, w.look())
		assert.Equal(t, 1, snapshots, "20s later")
		hang(2002)
		time.Sleep(time.Minute)
		assert.NoError(t, w.look())
		assert.Equal(t, 2, snapshots, "80s later")
		close(end)
	})
}

// A panic in the watch is in the log, and the watch goes on. A snapshot that
// hangs holds its stop up for the grace.
func TestWatchContains(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		hangs, end := false, make(chan struct{})
		m := newMandrill(quietBroker(time.Hour, 1), func(m *Mandrill) {
			m.snapshot = func() (string, error) {
				if hangs {
					<-end
				}
				hangs = true
				panic("on purpose")
			}
		})
		log := logTo(m)
		stop := m.watch()
		m.inFlight.begin(newDelivery(newMessage(1, 1)))
		time.Sleep(90 * time.Second)
		assert.Equal(t, 1, log.count("panic: on purpose"))
		m.inFlight.begin(newDelivery(newMessage(1, 2)))
		time.Sleep(20 * time.Second)
		assert.Equal(t, 2, log.count("attempt=1 stage=working"))
		began := time.Now()
		stop()
		assert.Equal(t, m.grace, time.Since(began))
		close(end)
	})
}

// Each snapshot is a file of its own that begins like a trace. Ten fill a
// folder, even if another process took them. What can't be written leaves no
// file.
func TestSnapshots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	snapshot, stop, err := startRecorder(dir, time.Second)
	require.NoError(t, err)
	defer stop()
	_, _, err = startRecorder(dir, time.Second)
	assert.Error(t, err, "a second recorder")
	labelled(t.Context(), newDelivery(Message{ID: "hammersmith"}),
		func(context.Context) {})
	for n := range maxSnapshots {
		path, err := snapshot()
		require.NoError(t, err)
		assert.Equal(t,
			filepath.Join(dir, fmt.Sprintf("stuck-%d.trace", n+1)), path)
		trace, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Regexp(t, `^go 1\.\d+ trace\x00`, string(trace[:16]))
		assert.Contains(t, string(trace), "hammersmith")
	}
	_, err = snapshot()
	assert.ErrorIs(t, err, errEnoughSnapshots)

	require.NoError(t, os.Remove(filepath.Join(dir, "stuck-3.trace")))
	stop()
	_, err = snapshot()
	assert.Error(t, err, "stopped")
	assert.NoFileExists(t, filepath.Join(dir, "stuck-3.trace"))
	require.NoError(t, os.RemoveAll(dir))
	_, err = snapshot()
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// A folder that can't be used is a mistake in the configuration.
func TestTracesFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := config{traces: file}.startDebugging(quiet, &Mandrill{})
	assert.ErrorContains(t, err, "-traces: mkdir "+file)
	assert.Equal(t, 2, status(err), "exit status")
}
