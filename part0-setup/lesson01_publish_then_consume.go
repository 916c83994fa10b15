// Lesson 0.1: publish, then consume.
//
// Publish five messages, then consume them: so the first version of the talk
// has it, and it works, for a queue in Python has no bound. A channel has one.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

var lesson01 = lesson{
	number: 1, core: true, title: "publish, then consume",
	mistakes: append(
		inChild(child{alone: true},
			runs(fiveMessages, publishThenConsume)),
		inChild(child{},
			runs(fiveMessages, endWithSentinel))...),
	fix: runs(fiveMessages, closeAtTheEnd),
}

// publishThenConsume is the mistake. This channel has no buffer, so a send
// waits for somebody who receives. That somebody is us, after the sends.
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

// endWithSentinel is the second mistake. There are consumers now, two of them,
// and one message without an ID that means "no more". One of them gets it.
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

// closeAtTheEnd is the fix. The consumers are there before the first send, and
// the close tells all of them, however many they are.
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

type passFunc func(
	queue chan Message, messages []Message, handle func(Message))

// fiveMessages passes five messages through a channel. To handle one takes
// 200ms, but for the second, which takes 500ms.
func fiveMessages(ctx context.Context, s *scene, pass passFunc) verdict {
	var messages []Message
	for i := range 5 {
		messages = append(messages, newMessage(s.seed, i+1))
	}
	fast := s.work("consumed", 200*time.Millisecond)
	slow := s.work("consumed", 500*time.Millisecond)
	s.queue = make(chan Message) // who closes it, if anybody, is the lesson
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
