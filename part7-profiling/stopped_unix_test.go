//go:build unix

package main

import (
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	stops = flag.Int("stops", 5, "stop the service `N` times in each way")
	seed  = flag.Uint64("stop.seed", 0, "the `SEED` of the instants")
)

// The program is stopped again and again at random instants, while it is busy,
// and started again in the same folder: with TERM, with a second TERM while it
// drains, and with kill -9. The exit status is that of the README's table. What
// was published is saved, once, and what was in progress is delivered again.
// That is read from the store: a process that is killed may not have logged
// what it did.
//
//	go test -run TestStopped ./part7-profiling -stops 100
func TestStopped(t *testing.T) {
	for _, way := range []struct {
		name  string
		speed string
		sig   syscall.Signal
		again bool     // until it has ended
		want  []string // how it ends
	}{
		{"TERM", "50", syscall.SIGTERM, false, []string{"exit status 0"}},
		{"twice TERM", "10", syscall.SIGTERM, true,
			[]string{"signal: terminated", "exit status 0"}}, // had drained
		{"kill -9", "50", syscall.SIGKILL, false, []string{"signal: killed"}},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			draw := *seed
			if draw == 0 {
				draw = uint64(time.Now().UnixNano())
			}
			t.Logf("repeat it with -stop.seed %d", draw)
			instants := rand.New(rand.NewPCG(draw, 0))
			dir := t.TempDir()
			var logs []string // of each process
			busy := 0         // processes that had work in progress
			for range *stops {
				p := start(t, "-data", dir, "-speed", way.speed)
				p.until(t, "msg=published")
				ended := make(chan struct{})
				var stopper sync.WaitGroup
				stopper.Go(func() {
					after := instants.Int64N(int64(400 * time.Millisecond))
					sent := time.NewTimer(time.Duration(after))
					for {
						select {
						case <-sent.C:
							p.Process.Signal(way.sig)
						case <-ended:
							return
						}
						if way.again {
							sent.Reset(echo + 20*time.Millisecond)
						}
					}
				})
				_, lines := p.end()
				close(ended)
				stopper.Wait()
				require.Contains(t, way.want, p.ProcessState.String(), lines)
				logs = append(logs, strings.Join(lines, "\n"))
				if inProgress(lines) {
					busy++
				}
			}
			p := start(t, "-data", dir, "-speed", "50", "-n", "1")
			status, lines := p.end()
			require.Zero(t, status, "exit status: %v", lines)
			logs = append(logs, strings.Join(lines, "\n"))

			nc, stop, err := connect(quiet, "", dir)
			require.NoError(t, err)
			t.Cleanup(stop)
			js, err := jetstream.New(nc)
			require.NoError(t, err)
			stored := assertAllSaved(t, js)
			for _, log := range logs {
				for _, id := range idsOf(log, "published") {
					assert.Contains(t, stored, id, "the broker confirmed it")
				}
			}
			t.Logf("%d stops, %d of them with work in progress; %d messages",
				*stops, busy, len(stored))
			assert.GreaterOrEqual(t, busy, max(1, *stops*60/100), "busy")
		})
	}
}

// assertAllSaved checks, in the store, that each request that was ever stored
// is settled, that it was saved once, and that its host was restarted unless it
// is a dead letter. It returns the IDs.
func assertAllSaved(t *testing.T, js jetstream.JetStream) (ids []string) {
	t.Helper()
	s, err := js.Stream(t.Context(), requestStream)
	require.NoError(t, err)
	assert.Zero(t, s.CachedInfo().State.Msgs, "not settled")
	assert.Positive(t, s.CachedInfo().State.LastSeq, "stored")

	saved, dead := savedKeys(t, js), deadLetters(t, js)
	assert.Len(t, saved, int(s.CachedInfo().State.LastSeq),
		"saved; dead letters: %v", dead)
	kv, err := js.KeyValue(t.Context(), bucketName)
	require.NoError(t, err)
	db := &bucket{quiet, kv}
	for id, times := range saved {
		assert.Equal(t, 1, times, "times that %s was saved", id)
		restarted, err := db.isDone(t.Context(), "restarted "+id)
		assert.NoError(t, err)
		assert.True(t, restarted || dead[deadSubject+id] != "",
			"what became of %s", id)
	}
	return slices.Collect(maps.Keys(saved))
}

// idsOf returns the messages of the lines that say what happened.
func idsOf(log, what string) (ids []string) {
	line := regexp.MustCompile(`msg="?` + what + `"? id=(\w+)`)
	for _, m := range line.FindAllStringSubmatch(log, -1) {
		ids = append(ids, m[1])
	}
	return ids
}

// inProgress reports whether a process was working when it was stopped: it has
// settled something after that, or it was killed before it could.
func inProgress(log []string) bool {
	open, stopping := make(map[string]bool), false
	for _, line := range log {
		for _, id := range idsOf(line, "delivered") {
			open[id] = true
		}
		for _, id := range idsOf(line, "settled") {
			if stopping {
				return true
			}
			delete(open, id)
		}
		stopping = stopping || strings.Contains(line, "msg=stopping")
	}
	return len(open) > 0
}

// The service writes its profile when it is stopped, and its status is what it
// would have been.
func TestProfileOfTheService(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cpu.out")
	p := start(t, "-cpuprofile", path, "-speed", "50")
	for range 5 {
		p.until(t, "msg=settled")
	}
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	status, lines := p.end()
	assert.Zero(t, status, "exit status: %v", lines)
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	_, err = readProfile(file)
	assert.NoError(t, err)
}
