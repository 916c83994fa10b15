// Lesson 1.1: still blocking.
//
// The program is asynchronous: a publisher, a consumer, and a channel between
// them. And yet nothing overlaps. While one host restarts, every other message
// waits.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// consumeOneByOne is the mistake. It finishes each message before it receives
// the next, so a batch takes as long as all of its restarts together.
func consumeOneByOne(
	ctx context.Context, queue <-chan Message, restart workFunc,
) {
	for msg := range queue {
		restart(ctx, msg)
	}
}

// consumeConcurrently is the fix. It still receives one message at a time,
// because there is nothing to do until one arrives. The restarts overlap, so a
// batch takes as long as its slowest restart.
func consumeConcurrently(
	ctx context.Context, queue <-chan Message, restart workFunc,
) {
	var restarts sync.WaitGroup
	defer restarts.Wait()
	for msg := range queue {
		restarts.Go(func() { restart(ctx, msg) })
	}
}

// A consumeFunc restarts the host of each message in the queue. It blocks until
// the queue is closed and empty.
type consumeFunc func(context.Context, <-chan Message, workFunc)

// restartFive has a consumer restart five hosts that take a second each.
func restartFive(ctx context.Context, s *scene, consume consumeFunc) verdict {
	queue := make(chan Message, 5) // closed here, once all five are in it
	for i := range 5 {
		queue <- newMessage(s.seed, i+1)
	}
	close(queue)

	consume(ctx, queue, s.work("restarted", time.Second))
	return verdict{
		text:   fmt.Sprintf("5 restarts of 1s took %v", s.elapsed()),
		failed: s.elapsed() >= 2*time.Second,
	}
}

var lesson01 = lesson{
	number: 1, core: true, title: "still blocking",
	watch:    "when each restart ends",
	mistakes: runs(restartFive, consumeOneByOne),
	fix:      runs(restartFive, consumeConcurrently),
}
