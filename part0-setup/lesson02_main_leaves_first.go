// Lesson 0.2: main leaves first.
//
// A program in Go ends when main returns, whatever its goroutines are doing.
// (asyncio's run waits for its main coroutine and cancels what is left.)

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// startBoth is the mistake. It starts the publisher and the consumer, and
// returns to main, which has nothing left to do.
func startBoth(publish, consume func()) {
	go publish()
	go consume()
}

// waitForBoth is the fix. Whoever starts a goroutine waits for it.
func waitForBoth(publish, consume func()) {
	var both sync.WaitGroup
	both.Go(publish)
	both.Go(consume)
	both.Wait()
}

type startFunc func(publish, consume func())

// passFive is a whole program: when it returns, main returns. Each message
// takes 200ms to consume. main and the consumer each defer a log line.
func passFive(ctx context.Context, s *scene, start startFunc) verdict {
	defer s.log.Info("main ended")
	queue := make(chan Message, 5) // closed when all five are in it
	consume := s.work("consumed", 200*time.Millisecond)
	start(
		func() {
			defer close(queue)
			for i := range 5 {
				queue <- newMessage(s.seed, i+1)
			}
		},
		func() {
			defer s.log.Info("consumer ended")
			for msg := range queue {
				consume(ctx, msg)
			}
		},
	)
	return verdict{} // this is a child: see countConsumed
}

// countConsumed returns the verdict on a program that has ended, from what it
// printed.
func countConsumed(endings []ending) verdict {
	e := endings[0]
	consumed := strings.Count(e.printed, "msg=consumed")
	return verdict{
		text:   fmt.Sprintf("%s, %d of 5 consumed", e.how, consumed),
		failed: consumed < 5,
	}
}

var lesson02 = lesson{
	number: 2, core: true, title: "main leaves first",
	watch: "how many of five messages are consumed, and the exit status",
	mistakes: inChild(child{verdict: countConsumed},
		runs(passFive, startBoth)),
	fix: inChild(child{verdict: countConsumed},
		runs(passFive, waitForBoth)),
}
