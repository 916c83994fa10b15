// Lesson 1.2: fire and forget.
//
// A publisher that has to wait until the queue has room is slow. So we let each
// send go on by itself, and the publisher is never held up again.

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

var lesson02 = lesson{
	number: 2, title: "fire and forget",
	mistakes: runs(publishHundred, sendAndForget),
	fix:      runs(publishHundred, sendOrWait),
}

// sendAndForget is the mistake. It says "sent" when it has started a goroutine
// that would like to send. Nothing tells the publisher that the queue is full,
// and nothing tells the goroutine that nobody receives any more.
func sendAndForget(
	ctx context.Context, queue chan<- Message, msg Message,
) error {
	go func() {
		queue <- msg
	}()
	return nil
}

// sendOrWait is the fix. It proceeds when there is room for the message, or
// when nobody wants it any more.
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

type sendFunc func(context.Context, chan<- Message, Message) error

var errConsumerGone = errors.New("the consumer has gone")

// publishHundred lets a publisher send a hundred messages to a queue with room
// for two. The consumer takes one a second. After three it leaves.
func publishHundred(ctx context.Context, s *scene, send sendFunc) verdict {
	ctx, leave := context.WithCancelCause(ctx)
	queue := make(chan Message, 2) // not closed: nobody ranges over it
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

	s.release = func() { // in a service nobody would
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
