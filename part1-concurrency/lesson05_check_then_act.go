// Lesson 1.5: check, then act.
//
// A host that was restarted within a day is left alone. So each handler looks
// first, and then restarts: two steps, and between them the world goes on.

package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"
)

// allAtOnce is the mistake. handle looks and then restarts. Two messages for
// one host are handled at the same time: both look, both see nothing, and both
// restart. What they look at is guarded by a mutex, and that
// does not help: the look and the restart have to be one step.
func allAtOnce(queue <-chan Message, handle func(Message)) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for msg := range queue {
		handlers.Go(func() { handle(msg) })
	}
}

// lockPerHost is the fix. A handler locks its host for both steps, so the next
// handler for that host looks only after the first has restarted it. Handlers
// for other hosts don't wait. (A channel with room for one value is a lock: to
// send is to lock. The README says why it is not a mutex.)
func lockPerHost(queue <-chan Message, handle func(Message)) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	locks := make(map[string]chan struct{}) // by host; only this loop uses it
	for msg := range queue {
		lock := locks[msg.Instance]
		if lock == nil {
			lock = make(chan struct{}, 1)
			locks[msg.Instance] = lock
		}
		handlers.Go(func() {
			lock <- struct{}{}
			defer func() { <-lock }()
			handle(msg)
		})
	}
}

// workersByHost is another fix. Each host belongs to one of four workers, which
// handles its messages one after the other. That bounds the goroutines and
// keeps the order. But a message for a worker that is busy holds up the loop,
// and with it all other hosts.
func workersByHost(queue <-chan Message, handle func(Message)) {
	var workers sync.WaitGroup
	defer workers.Wait()
	var inboxes [4]chan Message // closed when the queue is at its end
	for i := range inboxes {
		inbox := make(chan Message)
		inboxes[i] = inbox
		defer close(inbox)
		workers.Go(func() {
			for msg := range inbox {
				handle(msg)
			}
		})
	}
	for msg := range queue {
		hash := fnv.New32()
		hash.Write([]byte(msg.Instance))
		inboxes[hash.Sum32()%4] <- msg
	}
}

// A dispatchFunc has each message of the queue handled. It blocks until the
// queue is closed and every handler has ended.
type dispatchFunc func(queue <-chan Message, handle func(Message))

// sameHostTwice has three requests handled. A look takes 300ms, a restart
// 700ms. m1 and m2 arrive together and name two hosts. m3 arrives 100ms later
// and names the first host again.
func sameHostTwice(
	ctx context.Context, s *scene, dispatch dispatchFunc,
) verdict {
	queue := make(chan Message) // closed here, after all three
	go func() {
		defer close(queue)
		queue <- Message{ID: "m1", Instance: "cattle-same"}
		queue <- Message{ID: "m2", Instance: "cattle-other"}
		time.Sleep(100 * time.Millisecond)
		queue <- Message{ID: "m3", Instance: "cattle-same"}
	}()

	var mu sync.Mutex
	today := make(map[string]bool) // restarted within a day
	restart := s.work("restarted", 700*time.Millisecond)
	dispatch(queue, func(msg Message) {
		time.Sleep(300 * time.Millisecond)
		mu.Lock()
		recently := today[msg.Instance]
		mu.Unlock()
		s.log.Info("checked", "id", msg.ID, "host", msg.Instance,
			"recently", recently, "took", 300*time.Millisecond)
		if recently {
			s.log.Info("left alone", "id", msg.ID, "host", msg.Instance)
			return
		}
		restart(ctx, msg)
		mu.Lock()
		today[msg.Instance] = true
		mu.Unlock()
	})
	return verdict{
		text: fmt.Sprintf("2 hosts, restarts %d, took %v",
			s.count("restarted"), s.elapsed()),
		failed: s.count("restarted") > 2,
	}
}

var lesson05 = lesson{
	number: 5, title: "check, then act",
	watch:    "how often cattle-same is restarted",
	mistakes: runs(sameHostTwice, allAtOnce),
	fix:      runs(sameHostTwice, lockPerHost, workersByHost),
}
