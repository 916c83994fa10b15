// Lesson 1.3: who closes?
//
// A consumer that ranges over a channel ends when the channel is closed. With
// one publisher it is plain who closes: the one who sends. Here are two.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

var lesson03 = lesson{
	number: 3, title: "who closes?",
	mistakes: inChild(child{},
		runs(twoPublishers, eachCloses, nobodyCloses)),
	fix: runs(twoPublishers, closeAfterAll),
}

// eachCloses is the mistake. Every publisher tidies up behind itself, and the
// first to be done closes the channel under the others.
func eachCloses(queue chan<- Message, publishers []publishFunc) {
	var all sync.WaitGroup
	for _, publish := range publishers {
		all.Go(func() {
			defer close(queue)
			publish(queue)
		})
	}
	all.Wait()
}

// nobodyCloses is the second mistake. Nothing dies, and nothing ends: the
// consumer waits for a message that nobody will send.
func nobodyCloses(queue chan<- Message, publishers []publishFunc) {
	var all sync.WaitGroup
	for _, publish := range publishers {
		all.Go(func() { publish(queue) })
	}
	all.Wait()
}

// closeAfterAll is the fix. The one who started the publishers waits for them,
// and only then is nobody left who could send.
func closeAfterAll(queue chan<- Message, publishers []publishFunc) {
	var all sync.WaitGroup
	for _, publish := range publishers {
		all.Go(func() { publish(queue) })
	}
	all.Wait()
	close(queue)
}

type publishAllFunc func(queue chan<- Message, publishers []publishFunc)

// A publishFunc sends all its messages and returns.
type publishFunc func(queue chan<- Message)

// twoPublishers lets two publishers send two messages each to one consumer. One
// of them needs 400ms for its two, the other 600ms.
func twoPublishers(
	ctx context.Context, s *scene,
	publishAll publishAllFunc,
) verdict {
	twoEvery := func(d time.Duration, first int) publishFunc {
		return func(queue chan<- Message) {
			for i := range 2 {
				time.Sleep(d)
				queue <- newMessage(s.seed, first+i)
			}
		}
	}
	s.queue = make(chan Message) // who closes it is the lesson
	consumed := 0
	var consumer sync.WaitGroup
	consumer.Go(func() {
		for msg := range s.queue {
			consumed++
			s.log.Info("consumed", "id", msg.ID)
		}
	})
	publishAll(s.queue, []publishFunc{
		twoEvery(200*time.Millisecond, 1),
		twoEvery(300*time.Millisecond, 3),
	})
	consumer.Wait()
	return verdict{
		text:   fmt.Sprintf("%d of 4 consumed, took %v", consumed, s.elapsed()),
		failed: consumed != 4,
	}
}
