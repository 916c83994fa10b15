// Lesson 1.4: two jobs, nobody waits.
//
// Each message has two jobs: save it, and restart its host. Neither needs the
// other, so they may run side by side. When both are done, and only then, the
// message may be acked.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// startBothAndAck is the mistake. A go statement does not wait, so the ack says
// "done" when nothing is. If the process dies now, the message is lost.
func startBothAndAck(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	go save(ctx, d.Message)
	go restart(ctx, d.Message)
	d.Ack(ctx)
}

// waitForBoth is the fix. jobs.Go adds to the group before it starts the
// goroutine, so Wait can't come too early.
func waitForBoth(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	var jobs sync.WaitGroup
	jobs.Go(func() { save(ctx, d.Message) })
	jobs.Go(func() { restart(ctx, d.Message) })
	jobs.Wait()
	d.Ack(ctx)
}

// oneAfterTheOther is the version that we start from. It is safe, but it takes
// the sum of both times.
func oneAfterTheOther(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	save(ctx, d.Message)
	restart(ctx, d.Message)
	d.Ack(ctx)
}

// A handleBothFunc saves a message, restarts its host, and acks it.
type handleBothFunc func(
	ctx context.Context, d *Delivery, save, restart workFunc)

// saveAndRestart has a handler save a message, which takes 700ms, and restart
// its host, which takes 500ms.
func saveAndRestart(
	ctx context.Context, s *scene, handle handleBothFunc,
) verdict {
	return saveAndRestartIn(ctx, s, handle,
		700*time.Millisecond, 500*time.Millisecond)
}

// saveAndRestartIn has the save and the restart take that long.
func saveAndRestartIn(
	ctx context.Context, s *scene, handle handleBothFunc,
	save, restart time.Duration,
) verdict {
	s.broker = newBroker(s.log, 2*time.Second, 1)
	publish(ctx, s.broker, s.seed, 1, 0)
	d, err := s.broker.Receive(ctx, forever)
	if err != nil {
		return verdict{text: err.Error()}
	}
	handle(ctx, d, s.work("saved", save), s.work("restarted", restart))
	acked := s.elapsed()
	time.Sleep(time.Second) // a service does not end with its message
	return verdict{
		text: fmt.Sprintf("%v and %v of work, acked at %v",
			save, restart, acked),
		failed: acked < max(save, restart),
	}
}

var lesson04 = lesson{
	number: 4, core: true, title: "two jobs, nobody waits",
	watch:    "when the ack comes, and when the work is done",
	mistakes: runs(saveAndRestart, startBothAndAck),
	fix:      runs(saveAndRestart, waitForBoth),
}
