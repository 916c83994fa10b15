// Lesson 4.1: no colours, but bounds.
//
// In Go, any goroutine may make a blocking call. A call that blocks in the
// kernel still costs something that is scarce: a thread.

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/semaphore"
)

// lockRack is the mistake. It locks the file of a rack before it restarts a
// host there. Lock blocks in the kernel, and keeps a thread as long as it does.
func lockRack(
	ctx context.Context, rack string, _ *semaphore.Weighted,
	restart func() error,
) error {
	lock := flock.New(rack)
	defer lock.Close() // unlocks it
	if err := lock.Lock(); err != nil {
		return err
	}
	return restart()
}

// lockRackInTurn is the fix. A call waits for its turn first. That costs no
// thread, and it ends when ctx does.
func lockRackInTurn(
	ctx context.Context, rack string, turns *semaphore.Weighted,
	restart func() error,
) error {
	if turns.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	defer turns.Release(1)
	return lockRack(ctx, rack, turns, restart)
}

// askRack needs no bound to save threads. It stands for a call over the
// network: it waits for an answer. (Nothing is sent here, and none comes.) Go's
// runtime waits for all such calls together.
func askRack(
	ctx context.Context, rack string, _ *semaphore.Weighted,
	restart func() error,
) error {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0") // for the answer
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	defer stop()
	if _, _, err := socket.ReadFrom(make([]byte, 1)); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return restart()
}

// onOneThread is for work that belongs to one thread, as some libraries in C
// want it. It receives functions and calls them, one after the other, all on
// the same thread, until calls is closed. The thread ends with its goroutine.
func onOneThread(calls <-chan func()) {
	runtime.LockOSThread() // for good: no other goroutine gets its state
	for call := range calls {
		call()
	}
}

type lockFunc func(
	ctx context.Context, rack string, turns *semaphore.Weighted,
	restart func() error,
) error

// fiveHundredWait has 500 messages in progress, all for hosts in one rack. An
// operator's script holds the rack's lock until all of them wait.
func fiveHundredWait(
	ctx context.Context, s *scene, lock lockFunc,
) verdict {
	rack := filepath.Join(os.TempDir(), "rack1.lock")
	script := flock.New(rack)
	if err := script.Lock(); err != nil {
		s.log.Error("not locked", "err", err)
		return verdict{}
	}
	ctx, cancel := context.WithCancel(ctx)
	before, _ := whenAllWait()
	turns := semaphore.NewWeighted(8)
	var handlers sync.WaitGroup
	for range 500 {
		handlers.Go(func() {
			lock(ctx, rack, turns, func() error { return nil })
		})
	}
	inKernel, threads := whenAllWait()
	s.log.Info("all wait", "in_kernel", inKernel-before,
		"threads", fmt.Sprintf("~%d", threads))
	script.Close()
	cancel()
	handlers.Wait()
	return verdict{}
}

// underALimit plays the same in a process that is limited to 200 threads.
func underALimit(ctx context.Context, s *scene, lock lockFunc) verdict {
	debug.SetMaxThreads(200)
	s.log.Info("limited", "threads", 200)
	return fiveHundredWait(ctx, s, lock)
}

// whenAllWait blocks until every goroutine but our own waits for something, and
// returns how many of them do so in the kernel, and the number of threads. If
// that takes too long, the parent ends us.
func whenAllWait() (inKernel, threads int) {
	const prefix = "/sched/goroutines/"
	now := []metrics.Sample{
		{Name: prefix + "runnable:goroutines"},
		{Name: prefix + "running:goroutines"},
		{Name: prefix + "not-in-go:goroutines"},
		{Name: "/sched/threads/total:threads"},
	}
	for calm := 0; calm < 3; calm++ {
		time.Sleep(10 * time.Millisecond)
		metrics.Read(now)
		if now[0].Value.Uint64() > 0 || now[1].Value.Uint64() > 1 {
			calm = -1
		}
	}
	return int(now[2].Value.Uint64()), int(now[3].Value.Uint64())
}

// countThreads judges by what the process has counted.
func countThreads(endings []ending) verdict {
	e := endings[0]
	m := regexp.MustCompile(`msg="all wait" in_kernel=(\d+) threads=~(\d+)\n`).
		FindStringSubmatch(e.printed)
	if m == nil || e.code != 0 {
		return died(endings)
	}
	return verdict{
		text:   fmt.Sprintf("%s of 500 calls hold a thread", m[1]),
		failed: m[1] == "500",
	}
}

var lesson01 = lesson{
	number: 1, title: "no colours, but bounds",
	watch: "how many calls block in the kernel, and how many threads there are",
	mistakes: inChild(child{verdict: countThreads, cutAt: "fatal error"},
		slices.Concat(
			runs(fiveHundredWait, lockRack),
			runs(underALimit, lockRack))),
	fix: inChild(child{verdict: countThreads}, slices.Concat(
		runs(fiveHundredWait, lockRackInTurn, askRack),
		runs(underALimit, lockRackInTurn))),
}
