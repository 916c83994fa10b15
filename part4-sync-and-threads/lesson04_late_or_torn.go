// Lesson 4.4: handed over late, or torn.
//
// A library calls us back from goroutines of its own. What it brings has to get
// from there to our consumer.

package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// wakeIfIdle is the mistake. put adds a message to a list and wakes the
// consumer. A consumer that is busy is not waiting to be woken. put must not
// block the library, so it drops the signal.
func wakeIfIdle() (put putFunc, take takeFunc) {
	var mu sync.Mutex
	var list []Message
	wake := make(chan struct{})
	put = func(_ context.Context, msg Message) error {
		mu.Lock()
		list = append(list, msg)
		mu.Unlock()
		select {
		case wake <- struct{}{}:
		default:
		}
		return nil
	}
	take = func(ctx context.Context) (Message, error) {
		select {
		case <-wake:
		case <-ctx.Done():
			return Message{}, context.Cause(ctx)
		}
		mu.Lock()
		defer mu.Unlock()
		msg := list[0]
		list = list[1:]
		return msg, nil
	}
	return put, take
}

// handOver is the fix: the message itself goes through the channel. put blocks
// until the consumer takes it, or until ctx ends.
func handOver() (put putFunc, take takeFunc) {
	messages := make(chan Message)
	put = func(ctx context.Context, msg Message) error {
		select {
		case messages <- msg:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	take = func(ctx context.Context) (Message, error) {
		select {
		case msg := <-messages:
			return msg, nil
		case <-ctx.Done():
			return Message{}, context.Cause(ctx)
		}
	}
	return put, take
}

// appendInCallback is the second mistake. Several goroutines call back, and all
// of them append to one slice.
func appendInCallback(ctx context.Context, subscribe subscribeFunc) int {
	var all []Message
	subscribe(ctx, func(_ context.Context, msg Message) error {
		all = append(all, msg)
		return nil
	})
	return len(all)
}

// setInCallback is the third mistake: the same with a map.
func setInCallback(ctx context.Context, subscribe subscribeFunc) int {
	all := make(map[string]Message)
	subscribe(ctx, func(_ context.Context, msg Message) error {
		all[msg.ID] = msg
		return nil
	})
	return len(all)
}

// sendInCallback is the fix. The callbacks hand their messages over, and only
// one goroutine has the slice.
func sendInCallback(ctx context.Context, subscribe subscribeFunc) int {
	put, take := handOver()
	ctx, end := context.WithCancel(ctx)
	var library sync.WaitGroup
	library.Go(func() {
		defer end()
		subscribe(ctx, put)
	})
	var all []Message
	for {
		msg, err := take(ctx)
		if err != nil {
			library.Wait()
			return len(all)
		}
		all = append(all, msg)
	}
}

// A putFunc is called by the library, a takeFunc by the consumer.
type (
	putFunc  func(ctx context.Context, msg Message) error
	takeFunc func(ctx context.Context) (Message, error)
)

// whileBusy has a library bring four messages. The consumer needs a second for
// each, and two of them come while it is busy with the first.
func whileBusy(
	ctx context.Context, s *scene, handOver func() (putFunc, takeFunc),
) verdict {
	ctx, stop := context.WithTimeout(ctx, 4*time.Second)
	defer stop()
	put, take := handOver()
	var both sync.WaitGroup
	both.Go(func() {
		for i, at := range []time.Duration{500, 800, 1100, 3000} {
			sleep(ctx, at*time.Millisecond-s.elapsed())
			msg := newMessage(s.seed, i+1)
			s.log.Info("arrived", "id", msg.ID)
			put(ctx, msg)
		}
	})
	both.Go(func() {
		for {
			msg, err := take(ctx)
			if err != nil {
				return
			}
			s.did("taken", msg, 0)
			sleep(ctx, time.Second)
		}
	})
	both.Wait()
	s.log.Info("stopped", "taken", s.count("taken"))
	return allTaken(fmt.Sprint(s.count("taken")))
}

// countTaken judges by what the process has logged.
func countTaken(endings []ending) verdict {
	m := regexp.MustCompile(`msg=stopped taken=(\d+)\n`).
		FindStringSubmatch(endings[0].printed)
	if m == nil {
		return verdict{}
	}
	return allTaken(m[1])
}

func allTaken(n string) verdict {
	return verdict{n + " of 4 messages were taken", n != "4"}
}

// A subscribeFunc is how we get at a library's messages. It calls put from
// goroutines of the library, and returns when there are no more.
type subscribeFunc func(ctx context.Context, put putFunc)

// fourGoroutines has four goroutines of a library bring 2000 messages each.
func fourGoroutines(
	ctx context.Context, s *scene,
	receive func(ctx context.Context, subscribe subscribeFunc) int,
) verdict {
	messages := make([]Message, 8000)
	for i := range messages {
		messages[i] = newMessage(s.seed, i+1)
	}
	n := receive(ctx, func(ctx context.Context, put putFunc) {
		var library sync.WaitGroup
		for part := range slices.Chunk(messages, 2000) {
			library.Go(func() {
				for _, msg := range part {
					put(ctx, msg)
				}
			})
		}
		library.Wait()
	})
	s.log.Info("stopped", "received", n, "of", len(messages))
	return verdict{}
}

// countTorn judges by what ten processes have logged, or have died of.
func countTorn(endings []ending) verdict {
	lost, torn := 0, 0
	for _, e := range endings {
		switch {
		case e.why == "concurrent map writes":
			torn++
		case !strings.Contains(e.printed, "received=8000 of=8000\n"):
			lost++
		}
	}
	return verdict{
		text: fmt.Sprintf("messages lost in %s of %d runs, "+
			"concurrent map writes in %s of %d",
			share(lost), len(endings), share(torn), len(endings)),
		failed: lost+torn > 0,
	}
}

// share marks a figure that differs from run to run.
func share(n int) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("~%d", n)
}

var lesson04 = lesson{
	number: 4, title: "handed over late, or torn",
	watch: "when m2 and m3 are taken, and how often messages are lost",
	mistakes: slices.Concat(
		inChild(child{verdict: countTaken}, runs(whileBusy, wakeIfIdle)),
		inChild(child{verdict: countTorn, runs: 10},
			runs(fourGoroutines, appendInCallback, setInCallback))),
	fix: slices.Concat(
		inChild(child{verdict: countTaken}, runs(whileBusy, handOver)),
		inChild(child{verdict: countTorn, runs: 10},
			runs(fourGoroutines, sendInCallback))),
}
