// Lesson 1.3: who closes?
//
// A consumer that ranges over a channel ends when the channel is closed. With
// one publisher, the publisher closes. Here there are two.

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// eachCloses is the mistake. Each publisher tidies up after itself, and the
// first to end closes the channel while the other is still sending.
func eachCloses(queue chan<- Message, publishers []publishFunc) {
	for _, publish := range publishers {
		go func() {
			defer close(queue)
			publish(queue)
		}()
	}
}

// neverCloses is the second mistake. The publishers end, and the consumer
// waits for a message that will never come. As long as anything else in the
// service is still running, it waits for ever.
func neverCloses(queue chan<- Message, publishers []publishFunc) {
	for _, publish := range publishers {
		go publish(queue)
	}
}

// waitThenRange is the third mistake. It closes at the right moment, but it
// waits for that moment in the goroutine that has to receive.
func waitThenRange(queue chan<- Message, publishers []publishFunc) {
	var all sync.WaitGroup
	for _, publish := range publishers {
		all.Go(func() { publish(queue) })
	}
	all.Wait()
	close(queue)
}

// closeAfterAll is the fix. A goroutine of its own waits for all publishers and
// then closes: no sender is left.
func closeAfterAll(queue chan<- Message, publishers []publishFunc) {
	var all sync.WaitGroup
	for _, publish := range publishers {
		all.Go(func() { publish(queue) })
	}
	go func() {
		all.Wait()
		close(queue)
	}()
}

// A publishAllFunc starts the publishers. It decides who closes the queue.
type publishAllFunc func(queue chan<- Message, publishers []publishFunc)

// A publishFunc sends all its messages and returns.
type publishFunc func(queue chan<- Message)

// publishTwo publishes two messages, with a pause before each.
func publishTwo(
	s *scene, queue chan<- Message, pause time.Duration, first int,
) {
	for i := range 2 {
		time.Sleep(pause)
		queue <- newMessage(s.seed, first+i)
	}
}

// twoPublishers has two publishers send two messages each, and ranges over what
// they send. One takes 400ms for its two, the other 600ms.
func twoPublishers(
	ctx context.Context, s *scene, publishAll publishAllFunc,
) verdict {
	s.queue = make(chan Message) // who closes it is the lesson
	publishAll(s.queue, []publishFunc{
		func(queue chan<- Message) {
			publishTwo(s, queue, 200*time.Millisecond, 1)
		},
		func(queue chan<- Message) {
			publishTwo(s, queue, 300*time.Millisecond, 3)
		},
	})
	consumed := 0
	for msg := range s.queue {
		consumed++
		s.log.Info("consumed", "id", msg.ID)
	}
	took := s.elapsed()
	time.Sleep(time.Second / 2) // a service does not end with its queue
	return verdict{
		text:   fmt.Sprintf("%d of 4 consumed, took %v", consumed, took),
		failed: consumed != 4,
	}
}

// diedConsuming is the verdict on a program that died or hung.
func diedConsuming(endings []ending) verdict {
	v := died(endings)
	v.text += fmt.Sprintf(", %d of 4 consumed",
		strings.Count(endings[0].printed, "msg=consumed"))
	return v
}

var lesson03 = lesson{
	number: 3, title: "who closes?",
	watch: "how the program ends, and how many of four messages are consumed",
	mistakes: append(
		inChild(child{verdict: diedConsuming}, runs(twoPublishers, eachCloses)),
		inChild(child{verdict: diedConsuming, hangs: true},
			runs(twoPublishers, neverCloses, waitThenRange))...),
	fix: runs(twoPublishers, closeAfterAll),
}
