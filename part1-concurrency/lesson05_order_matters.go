// Lesson 1.5: when order matters.
//
// A host that was restarted within a day is left alone. So each handler looks
// first, and then restarts: two steps, and between them the world goes on.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

var lesson05 = lesson{
	number: 5, title: "when order matters",
	mistakes: runs(sameHostTwice, allAtOnce),
	fix:      runs(sameHostTwice, inLanes),
}

// allAtOnce is the mistake. Two messages for one host are handled at the same
// time: both look, both see nothing, and both restart.
func allAtOnce(queue <-chan Message, handle func(Message)) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for msg := range queue {
		handlers.Go(func() { handle(msg) })
	}
}

// inLanes is the fix. The messages for one host wait for each other, in the
// order in which they came; those for other hosts don't. (The map grows with
// the hosts, and the messages that wait are without a bound: it is for a queue
// that has few of both. Lesson 8 bounds what waits.)
func inLanes(queue <-chan Message, handle func(Message)) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	latest := make(map[string]chan struct{}) // closed when that one is handled
	for msg := range queue {
		before, done := latest[msg.Instance], make(chan struct{})
		latest[msg.Instance] = done
		handlers.Go(func() {
			defer close(done)
			if before != nil { // a receive from nil would last for ever
				<-before
			}
			handle(msg)
		})
	}
}

// sameHostTwice publishes two requests for one host and one for another, and
// has them handled: to look takes 300ms, to restart 700ms.
func sameHostTwice(
	ctx context.Context, s *scene,
	consume func(queue <-chan Message, handle func(Message)),
) verdict {
	queue := make(chan Message, 3) // closed here, once all three are in it
	queue <- Message{ID: "m1", Instance: "cattle-same"}
	queue <- Message{ID: "m2", Instance: "cattle-same"}
	queue <- Message{ID: "m3", Instance: "cattle-other"}
	close(queue)

	var mu sync.Mutex
	today := make(map[string]bool) // restarted within a day
	restart := s.work("restarted", 700*time.Millisecond)
	consume(queue, func(msg Message) {
		time.Sleep(300 * time.Millisecond)
		mu.Lock()
		recently := today[msg.Instance]
		mu.Unlock()
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
