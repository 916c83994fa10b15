// Lesson 6.5: what each tool misses.
//
// "Go detects deadlocks." Two handlers have all the slots. Each has locked a
// rack, and waits for the other's.

package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// waitForever is the mistake. If all goroutines are asleep, Go says so and ends
// the process, so why bound the wait?
func waitForever(
	_ *Mandrill, ctx context.Context, slots *semaphore.Weighted,
) error {
	return slots.Acquire(ctx, 1)
}

// The fix is takeSlot, which the service uses.
var _ waitFunc = (*Mandrill).takeSlot

// A waitFunc blocks until a slot is free.
type waitFunc func(
	m *Mandrill, ctx context.Context, slots *semaphore.Weighted) error

// lockEachOther has two handlers restart two racks each, in opposite order.
// Then it waits for a slot. If that fails, it shows where the handlers are.
func lockEachOther(ctx context.Context, s *scene, wait waitFunc) verdict {
	m := &Mandrill{
		timeout: 300 * time.Millisecond, lease: 100 * time.Millisecond,
		grace: 100 * time.Millisecond,
	}
	slots := semaphore.NewWeighted(2)
	var racks [2]sync.Mutex
	var locked sync.WaitGroup
	locked.Add(2)
	for n := range 2 {
		slots.Acquire(ctx, 1)
		d := newDelivery(newMessage(s.seed, n+1))
		go labelled(ctx, d, func(context.Context) {
			defer slots.Release(1)
			restartRacks(&racks[n], &racks[1-n], &locked)
		})
	}
	locked.Wait()
	s.log.Info("each handler has locked a rack")
	s.log.Info("waiting for a slot")
	if err := wait(m, ctx, slots); err != nil {
		s.log.Error("no slot", "err", err)
	}
	for _, stack := range stacks() {
		for _, call := range stack.calls {
			if strings.Contains(call, "restartRacks") {
				fmt.Println(stack.labels, call)
			}
		}
	}
	return verdict{}
}

// restartRacks locks one rack, and then, when all have got that far, another.
func restartRacks(mine, other *sync.Mutex, locked *sync.WaitGroup) {
	mine.Lock()
	defer mine.Unlock()
	locked.Done()
	locked.Wait()
	other.Lock()
	defer other.Unlock()
}

// judgeDeadlock is the verdict on a deadlock: it has failed if the process says
// nothing.
func judgeDeadlock(endings []ending) verdict {
	e := endings[0]
	if !strings.Contains(e.printed, "each handler has locked") {
		return verdict{}
	}
	m := regexp.MustCompile(`msg="no slot" err="(.*)"`).
		FindStringSubmatch(e.printed)
	switch {
	case m == nil && e.code == 0:
		return verdict{text: "a slot was free: no deadlock"}
	case m == nil:
		return verdict{e.how + ", and no one has said a word", true}
	}
	places := strings.Count(e.printed, "} restartRacks (")
	return verdict{text: fmt.Sprintf(
		"%s; %d handlers found in restartRacks", m[1], places)}
}

var lesson05 = lesson{
	number: 5, title: "what each tool misses",
	watch: "who notices the deadlock",
	mistakes: inChild(child{verdict: judgeDeadlock, hangs: true},
		runs(lockEachOther, waitForever)),
	fix: inChild(child{verdict: judgeDeadlock},
		runs(lockEachOther, (*Mandrill).takeSlot)),
}
