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
	"strings"
	"sync"
	"sync/atomic"
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
// network, and waits for an answer. (It sends no request, so no answer ever
// comes.) Go's runtime waits for all such calls together.
func askRack(
	ctx context.Context, rack string, _ *semaphore.Weighted,
	restart func() error,
) error {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0") // for the answer
	if err != nil {
		return err
	}
	defer socket.Close()
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
// operator's script holds the rack's lock until all of them wait, and then have
// been cancelled.
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
	turns := semaphore.NewWeighted(8)
	var restarted, returned atomic.Int64
	var handlers sync.WaitGroup
	for range 500 {
		handlers.Go(func() {
			lock(ctx, rack, turns, func() error {
				restarted.Add(1)
				return nil
			})
			returned.Add(1)
		})
	}
	inKernel := whenAllWait(&returned)
	s.log.Info("all wait", "calls", 500-returned.Load(),
		"in_kernel", inKernel, "threads", fmt.Sprintf("~%d", threads()))
	cancel()
	whenAllWait(&returned)
	s.log.Info("cancelled", "calls", 500-returned.Load())
	script.Close()
	handlers.Wait()
	s.log.Info("unlocked", "restarted", restarted.Load())
	return verdict{}
}

// underALimit plays the same in a process that is limited to 200 threads.
func underALimit(ctx context.Context, s *scene, lock lockFunc) verdict {
	debug.SetMaxThreads(200)
	s.log.Info("limited", "threads", 200)
	return fiveHundredWait(ctx, s, lock)
}

// whenAllWait blocks until each of the 500 calls waits for something, or has
// returned. It returns how many of them wait in the kernel. If that takes too
// long, the parent ends us.
func whenAllWait(returned *atomic.Int64) (inKernel int) {
	for calm := 0; calm < 3; calm++ {
		time.Sleep(10 * time.Millisecond)
		all := make([]byte, 4<<20)
		all = all[:runtime.Stack(all, true)]
		waiting := 0
		inKernel = 0
		for stack := range strings.SplitSeq(string(all), "\n\n") {
			state, frames, _ := strings.Cut(stack, "\n")
			if !strings.Contains(frames, ".fiveHundredWait.func") ||
				strings.Contains(state, "[run") { // running or runnable
				continue
			}
			waiting++
			if strings.Contains(state, "[syscall") {
				inKernel++
			}
		}
		if waiting+int(returned.Load()) != 500 {
			calm = -1
		}
	}
	return inKernel
}

// threads returns how many threads the process has.
func threads() uint64 {
	n := []metrics.Sample{{Name: "/sched/threads/total:threads"}}
	metrics.Read(n)
	return n[0].Value.Uint64()
}

// countThreads judges by what the process has counted.
func countThreads(endings []ending) verdict {
	e := endings[0]
	m := regexp.MustCompile(`msg="all wait" calls=500 in_kernel=(\d+) `).
		FindStringSubmatch(e.printed)
	if e.code != 0 {
		return died(endings)
	} else if m == nil {
		return verdict{}
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
