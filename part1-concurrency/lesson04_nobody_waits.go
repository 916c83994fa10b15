// Lesson 1.4: two jobs, nobody waits.
//
// For each message there are two jobs: save it, and restart the host. Neither
// needs the other, so they may go on side by side. When both are done, and only
// then, the message may be acknowledged.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

var lesson04 = lesson{
	number: 4, core: true, title: "two jobs, nobody waits",
	mistakes: runs(saveAndRestart, oneAfterTheOther, startBothAndAck),
	fix:      runs(saveAndRestart, waitForBoth),
}

// oneAfterTheOther is the first mistake. It is safe, and takes the sum.
func oneAfterTheOther(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	save(ctx, d.Message)
	restart(ctx, d.Message)
	d.Ack(ctx)
}

// startBothAndAck is the second mistake. A go statement does not wait: the ack
// says "done" when nothing is. If the process dies now, the message is lost.
func startBothAndAck(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	go save(ctx, d.Message)
	go restart(ctx, d.Message)
	d.Ack(ctx)
}

// waitForBoth is the fix. Go adds to the group before the goroutine starts, so
// Wait can't be too early.
func waitForBoth(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	var jobs sync.WaitGroup
	jobs.Go(func() { save(ctx, d.Message) })
	jobs.Go(func() { restart(ctx, d.Message) })
	jobs.Wait()
	d.Ack(ctx)
}

type handleBothFunc func(
	ctx context.Context, d *Delivery, save, restart workFunc)

// saveAndRestart lets a handler save a message, which takes 700ms, and restart
// its host, which takes 500ms.
func saveAndRestart(
	ctx context.Context, s *scene, handle handleBothFunc,
) verdict {
	s.broker = newBroker(s.log, 2*time.Second, 1)
	publish(ctx, s.broker, s.seed, 1, 0)
	d, err := s.broker.Receive(ctx, forever)
	if err != nil {
		return verdict{text: err.Error()}
	}
	handle(ctx, d, s.work("saved", 700*time.Millisecond),
		s.work("restarted", 500*time.Millisecond))
	acked := s.elapsed()
	time.Sleep(time.Second) // a service does not end with its message
	return verdict{
		text:   fmt.Sprintf("700ms and 500ms of work, acked after %v", acked),
		failed: acked < 700*time.Millisecond || acked >= 1200*time.Millisecond,
	}
}
