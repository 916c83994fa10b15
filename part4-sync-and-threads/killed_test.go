package main

import (
	"flag"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	kills    = flag.Int("kills", 5, "kill the service `N` times")
	killSeed = flag.Uint64("kill.seed", 0, "the `SEED` of the instants")
)

// The program is killed again and again at random instants, as kill -9 does it,
// and started again in the same folder. What was published is saved, once, and
// what was in progress is delivered again. All of it is read from the store: a
// process that is killed may not have logged what it did.
//
//	go test -run TestKilled ./part4-sync-and-threads -kills 100
func TestKilled(t *testing.T) {
	t.Parallel()
	seed := *killSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat it with -kill.seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	var logs []string // of each process
	for range *kills {
		p := start(t, "-data", dir, "-speed", "50")
		p.until(t, "msg=ready")
		time.AfterFunc(time.Duration(draw.Int64N(int64(400*time.Millisecond))),
			func() { p.Process.Kill() })
		status, lines := p.end()
		require.NotZero(t, status, "it was killed")
		logs = append(logs, strings.Join(lines, "\n"))
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
	again := redelivered(logs)
	t.Logf("%d kills, %d messages, after %d kills some were delivered again",
		*kills, len(stored), again)
	want := 1
	if *kills >= 20 {
		want = *kills * 60 / 100
	}
	assert.GreaterOrEqual(t, again, want, "kills with redeliveries")
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

// redelivered returns how many processes have left something in progress that a
// later one has received.
func redelivered(logs []string) (n int) {
	for i, log := range logs {
		open := make(map[string]bool)
		for _, line := range strings.Split(log, "\n") {
			for _, id := range idsOf(line, "delivered") {
				open[id] = true
			}
			for _, id := range idsOf(line, "settled") {
				delete(open, id)
			}
		}
		later := strings.Join(logs[i+1:], "\n")
		if slices.ContainsFunc(idsOf(later, "delivered"),
			func(id string) bool { return open[id] }) {
			n++
		}
	}
	return n
}

// Several processes share one consumer. One of them is killed. No message is
// lost, none is saved twice, and processes handle what others have published.
func TestProcesses(t *testing.T) {
	t.Parallel()
	url := serverFor(t, nil).ClientURL()
	var all []*process
	for range 4 {
		all = append(all, start(t, "-nats", url, "-n", "25", "-speed", "50"))
	}
	for range 5 {
		all[0].until(t, "msg=settled")
	}
	require.NoError(t, all[0].Process.Kill())
	var logs []string
	for i, p := range all {
		status, lines := p.end()
		if i > 0 {
			assert.Zero(t, status, "exit status: %v", lines)
		}
		logs = append(logs, strings.Join(lines, "\n"))
	}
	stored := assertAllSaved(t, jetStreamAt(t, url))
	assert.GreaterOrEqual(t, len(stored), 3*25, "messages")
	fromOthers := 0
	for _, log := range logs {
		published := idsOf(log, "published")
		for _, id := range idsOf(log, "settled") {
			if !slices.Contains(published, id) {
				fromOthers++
			}
		}
	}
	t.Logf("%d messages, %d times settled by another process than published",
		len(stored), fromOthers)
	assert.Positive(t, fromOthers, "settled by another process")
}
