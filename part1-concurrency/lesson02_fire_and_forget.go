// Lesson 1.2: fire and forget.
//
// A publisher that blocks until the queue has room is slow. So we give each
// send a goroutine of its own, and the publisher never waits again.

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// sendAndForget is the mistake. It reports success when it has started a
// goroutine that is going to send. Nothing tells the publisher that the queue
// is full, and nothing tells the goroutine that the consumer has gone.
func sendAndForget(
	ctx context.Context, queue chan<- Message, msg Message,
) error {
	go func() {
		queue <- msg
	}()
	return nil
}

// sendOrWait is the fix. It sends when there is room for the message. If ctx
// ends first, because the consumer has gone, it returns the cause.
func sendOrWait(
	ctx context.Context, queue chan<- Message, msg Message,
) error {
	select {
	case queue <- msg:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answerUnbuffered is the second mistake: the same leak in another form. Its
// goroutine sends the result of a call to the caller. If the caller has timed
// out by then, the send blocks for ever.
func answerUnbuffered(call func() string) <-chan string {
	result := make(chan string)
	go func() { result <- call() }()
	return result
}

// answerBuffered fixes answerUnbuffered. The buffer has room for the result, so
// the send never blocks, even if the caller has timed out.
func answerBuffered(call func() string) <-chan string {
	result := make(chan string, 1)
	go func() { result <- call() }()
	return result
}

// A sendFunc sends a message to a queue, or returns why it did not.
type sendFunc func(context.Context, chan<- Message, Message) error

// errConsumerGone is the cause when the consumer has left.
var errConsumerGone = errors.New("the consumer has gone")

// publishHundred has a publisher send a hundred messages to a queue with room
// for two. The consumer takes one a second. After three it leaves.
func publishHundred(ctx context.Context, s *scene, send sendFunc) verdict {
	ctx, leave := context.WithCancelCause(ctx)
	queue := make(chan Message, 2) // not closed: the consumer counts
	var published atomic.Int64
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for i := range 100 {
			if send(ctx, queue, newMessage(s.seed, i+1)) != nil {
				return
			}
			published.Add(1)
		}
	})

	consumed := 0
	parked := func() int {
		return int(published.Load()) - consumed - len(queue)
	}
	for range 3 {
		time.Sleep(time.Second)
		s.log.Info("so far", "published", published.Load(),
			"consumed", consumed, "queued", len(queue), "parked", parked())
		<-queue
		consumed++
	}
	time.Sleep(time.Second / 2)
	leave(errConsumerGone)
	publisher.Wait()

	s.release = func() { // a service has nothing that would
		for range int(published.Load()) - consumed {
			<-queue
		}
	}
	return verdict{
		text: fmt.Sprintf("%d published, %d consumed, %d in the queue, "+
			"%d parked", published.Load(), consumed, len(queue), parked()),
		failed: parked() > 0,
	}
}

// An answerFunc makes a call in a goroutine and returns where its result
// arrives.
type answerFunc func(call func() string) <-chan string

// tenTimeOuts asks a host ten times whether it is up. The host takes 150ms to
// answer, and the caller gives up after 100ms.
func tenTimeOuts(_ context.Context, s *scene, answer answerFunc) verdict {
	timedOut := 0
	var results []<-chan string
	for range 10 {
		result := answer(func() string {
			time.Sleep(150 * time.Millisecond)
			return "up"
		})
		results = append(results, result)
		select {
		case <-result:
		case <-time.After(100 * time.Millisecond):
			timedOut++
		}
	}
	time.Sleep(time.Second / 2) // all ten calls have returned
	parked := 0
	for _, result := range results {
		parked += 1 - len(result) // its result has no place
	}
	s.release = func() {
		for _, result := range results {
			<-result
		}
	}
	return verdict{
		text: fmt.Sprintf("%d of 10 calls timed out, %d goroutines parked",
			timedOut, parked),
		failed: parked > 0,
	}
}

var lesson02 = lesson{
	number: 2, title: "fire and forget",
	watch: "published against consumed, and how many goroutines are parked",
	mistakes: append(runs(publishHundred, sendAndForget),
		runs(tenTimeOuts, answerUnbuffered)...),
	fix: append(runs(publishHundred, sendOrWait),
		runs(tenTimeOuts, answerBuffered)...),
}
