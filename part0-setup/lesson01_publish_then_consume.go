// Lesson 0.1: publish, then consume.
//
// Publish five messages, then consume them: that is how the talk begins. It
// works there, because a queue in asyncio is unbounded by default. A channel is
// not.

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// publishThenConsume is the mistake. This channel has no buffer, so a send
// blocks until a consumer receives. The function receives only after all of
// its sends.
func publishThenConsume(
	queue chan Message, messages []Message, handle func(Message),
) {
	for _, msg := range messages {
		queue <- msg
	}
	close(queue)
	for msg := range queue {
		handle(msg)
	}
}

// endWithSentinel is the second mistake. The two consumers start first now. A
// message without an ID means "no more", but only one of them receives it.
func endWithSentinel(
	queue chan Message, messages []Message, handle func(Message),
) {
	var consumers sync.WaitGroup
	for range 2 {
		consumers.Go(func() {
			for msg := range queue {
				if msg.ID == "" {
					return
				}
				handle(msg)
			}
		})
	}
	for _, msg := range messages {
		queue <- msg
	}
	queue <- Message{}
	consumers.Wait()
}

// closeAtTheEnd is the fix. The consumers are running before the first send,
// and the close ends all of them, however many there are.
func closeAtTheEnd(
	queue chan Message, messages []Message, handle func(Message),
) {
	var consumers sync.WaitGroup
	for range 2 {
		consumers.Go(func() {
			for msg := range queue {
				handle(msg)
			}
		})
	}
	for _, msg := range messages {
		queue <- msg
	}
	close(queue)
	consumers.Wait()
}

// A passFunc passes the messages through the queue and has each of them
// handled. It blocks until that is done.
type passFunc func(
	queue chan Message, messages []Message, handle func(Message))

// fiveMessages passes five messages through a channel. Each takes 200ms to
// handle, except the second, which takes 500ms.
func fiveMessages(ctx context.Context, s *scene, pass passFunc) verdict {
	var messages []Message
	for i := range 5 {
		messages = append(messages, newMessage(s.seed, i+1))
	}
	fast := s.work("consumed", 200*time.Millisecond)
	slow := s.work("consumed", 500*time.Millisecond)
	s.queue = make(chan Message) // who closes it is the lesson
	pass(s.queue, messages, func(msg Message) {
		if msg == messages[1] {
			slow(ctx, msg)
		} else {
			fast(ctx, msg)
		}
	})
	return verdict{
		text: fmt.Sprintf("%d of 5 consumed, took %v",
			s.count("consumed"), s.elapsed()),
		failed: s.count("consumed") < 5,
	}
}

// fiveInAService runs fiveMessages in a program that has what every service
// has: another goroutine that waits for something else. Here it waits for a
// ticker.
func fiveInAService(ctx context.Context, s *scene, pass passFunc) verdict {
	ended := make(chan struct{}) // closed when pass has returned
	defer close(ended)
	go func() {
		alive := time.NewTicker(time.Second)
		defer alive.Stop()
		for {
			select {
			case <-alive.C:
				// report that the service is alive, say
			case <-ended:
				return
			}
		}
	}()
	return fiveMessages(ctx, s, pass)
}

// diedConsuming is the verdict on a program that died or hung.
func diedConsuming(endings []ending) verdict {
	v := died(endings)
	v.text += fmt.Sprintf(", %d of 5 consumed",
		strings.Count(endings[0].printed, "msg=consumed"))
	return v
}

var lesson01 = lesson{
	number: 1, core: true, title: "publish, then consume",
	watch: "which messages are consumed, and whether the program ends",
	mistakes: append(
		inChild(child{alone: true},
			runs(fiveMessages, publishThenConsume)),
		inChild(child{verdict: diedConsuming, hangs: true},
			runs(fiveInAService, endWithSentinel))...),
	fix: runs(fiveInAService, closeAtTheEnd),
}
