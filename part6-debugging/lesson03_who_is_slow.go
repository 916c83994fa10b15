// Lesson 6.3: who is slow?
//
// Three suspects, on one processor: ten thousand calls that wait for an answer,
// a checksum that does nothing but compute, and ten saves that take turns. The
// service feels slow. Which of them is the cause?

package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// timeEach is the mistake: asyncio's warning about slow callbacks, in Go. It
// counts the calls that take longer than 100ms.
func timeEach(work func(), n int) (found []any) {
	var slow atomic.Int64
	atOnce(n, func() {
		began := time.Now()
		work()
		if time.Since(began) > 100*time.Millisecond {
			slow.Add(1)
		}
	})
	return []any{"slow", roughly(int(slow.Load()))}
}

// probeLag is the fix. It looks for harm that is done to others. A goroutine
// that wants to run every millisecond notes how late it was (lag). The runtime
// knows how long goroutines that could run had to wait for a processor
// (queued), and who made others wait for a lock (contended).
func probeLag(work func(), n int) (found []any) {
	lag, queued := time.Hour, time.Hour
	for range 3 { // the least counts: the machine may be busy otherwise
		done, worst := make(chan struct{}), make(chan time.Duration)
		go func() { worst <- worstLag(done) }()
		time.Sleep(10 * nap) // it is running now
		before := schedLatencies()
		atOnce(n, work)
		close(done)
		lag = min(lag, <-worst)
		queued = min(queued, longest(before, schedLatencies()))
	}
	return []any{"lag", roughly(int(lag.Milliseconds())) + "ms",
		"queued", roughly(int(queued.Milliseconds())) + "ms",
		"contended", mostContended()}
}

// nap is how long the probe sleeps.
const nap = time.Millisecond

// worstLag naps until done is closed, and returns by how much the longest nap
// was too long.
func worstLag(done <-chan struct{}) (worst time.Duration) {
	for {
		began := time.Now()
		time.Sleep(nap)
		worst = max(worst, time.Since(began)-nap)
		select {
		case <-done:
			return worst
		default:
		}
	}
}

// atOnce runs the work n times at once, and waits.
func atOnce(n int, work func()) {
	var all sync.WaitGroup
	for range n {
		all.Go(work)
	}
	all.Wait()
}

// A lookFunc runs work, n times at once, and returns what it has found, as
// attributes of the log.
type lookFunc func(work func(), n int) (found []any)

// askAround has three suspects looked at.
func askAround(_ context.Context, s *scene, look lookFunc) verdict {
	runtime.SetMutexProfileFraction(1) // every contention; 0, the default: none
	s.log.With("calls", 10_000).Info("waiting", look(waitForAnswer, 10_000)...)
	s.log.With("calls", 1).Info("computing", look(checksum, 1)...)
	s.log.With("calls", 10).Info("saving", look(saveInTurn, 10)...)
	return verdict{}
}

// waitForAnswer stands for a call over the network.
func waitForAnswer() { time.Sleep(150 * time.Millisecond) }

// checksum computes for some tenths of a second. Its loop calls no function.
func checksum() {
	sum := uint64(1)
	for i := range uint64(200_000_000) {
		sum = sum*31 + i
	}
	checksums.Store(sum)
}

// checksums keeps the compiler from leaving the loop out.
var checksums atomic.Uint64

// saveInTurn holds a lock while it writes to a slow disk.
func saveInTurn() {
	disk.Lock()
	defer disk.Unlock()
	time.Sleep(40 * time.Millisecond) // the write
}

var disk sync.Mutex

// schedLatencies returns for how long goroutines have waited for a processor,
// since the process began. The runtime measures one wait in eight.
func schedLatencies() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64Histogram()
}

// longest returns the longest wait that one histogram has and an earlier one
// has not.
func longest(before, after *metrics.Float64Histogram) time.Duration {
	added := &metrics.Float64Histogram{Buckets: after.Buckets}
	for i, n := range after.Counts {
		added.Counts = append(added.Counts, n-before.Counts[i])
	}
	return time.Duration(quantile(added, 1) * float64(time.Second))
}

// mostContended returns which function of this lesson has made others wait for
// a mutex the longest, and the line where it unlocks: the mutex profile knows
// that.
func mostContended() string {
	var profile bytes.Buffer
	pprof.Lookup("mutex").WriteTo(&profile, 1) // a Buffer never fails
	for record := range strings.SplitSeq(profile.String(), "\n\n") {
		if !strings.Contains(record, "sync.(*Mutex).Unlock") {
			continue // a lock of the runtime's
		}
		for line := range strings.Lines(record) {
			m := callLine.FindStringSubmatch(line)
			if m != nil && strings.Contains(m[2], "lesson03") {
				return m[1] + m[2][strings.LastIndex(m[2], ":"):]
			}
		}
	}
	return "none"
}

// judgeWarnings is the verdict on warnings about slow calls. They have failed
// if calls that only wait are among them.
func judgeWarnings(endings []ending) verdict {
	found := suspects(endings[0].printed, `slow=~(\d+)`)
	if len(found) < 3 {
		return verdict{}
	}
	return verdict{fmt.Sprintf("~%d calls are slow, ~%d of them only wait",
		found[0]+found[1]+found[2], found[0]), found[0] > 0 && found[1] > 0}
}

// judgeLag is the verdict on the probe. It passes if the lag of the checksum is
// at least twice the lag of each other suspect, and twice what queued says of
// the checksum, and if the probe names the function that held the lock.
func judgeLag(endings []ending) verdict {
	printed := endings[0].printed
	lag := suspects(printed, `lag=~(\d+)ms`)
	queued := suspects(printed, `lag=\S+ queued=~(\d+)ms`)
	if len(lag) < 3 || len(queued) < 3 {
		return verdict{}
	}
	lock := "unknown"
	if m := regexp.MustCompile(`contended=(saveInTurn):\d+`).
		FindStringSubmatch(printed); m != nil {
		lock = m[1]
	}
	return verdict{
		fmt.Sprintf("lag: waiting ~%dms, computing ~%dms, saving ~%dms; "+
			"lock: %s", lag[0], lag[1], lag[2], lock),
		lock == "unknown" || lag[1] < 2*max(lag[0], lag[2]) ||
			lag[1] < 2*queued[1],
	}
}

// suspects returns the figure that was found for each suspect, in order.
func suspects(printed, figure string) (found []int) {
	for _, m := range regexp.MustCompile(`msg=\w+ calls=\d+ `+figure).
		FindAllStringSubmatch(printed, -1) {
		n, _ := strconv.Atoi(m[1])
		found = append(found, n)
	}
	return found
}

// onOneProcessor are the variables of a process that has one processor and is
// not preempted in the middle of a loop.
var onOneProcessor = []string{"GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1"}

var lesson03 = lesson{
	number: 3, title: "who is slow?",
	watch: "what is found out about each suspect",
	mistakes: inChild(child{verdict: judgeWarnings, env: onOneProcessor},
		runs(askAround, timeEach)),
	fix: inChild(child{verdict: judgeLag, env: onOneProcessor},
		runs(askAround, probeLag)),
}
