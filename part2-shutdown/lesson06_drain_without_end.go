// Lesson 2.6: the drain without end.
//
// To drain is to wait for the work in flight. One host is restarted in half a
// second, one takes longer than we care to wait, and one hangs and heeds
// nothing.

package main

import (
	"context"
	"fmt"
	"time"
)

var lesson06 = lesson{
	number: 6, core: true, title: "the drain without end",
	mistakes: inChild(child{hangs: true}, runs(oneHangs, waitForAll)),
	fix:      runs(oneHangs, waitInStages),
}

// waitForAll is the mistake. It is right, until the first handler hangs.
func waitForAll(
	ended <-chan string, n int, cancel context.CancelCauseFunc,
) (left int) {
	for range n {
		<-ended
	}
	return 0
}

// waitInStages is the fix. There is a time for the work to end, and then a time
// for it to heed that it is cancelled. After that we leave, and say so.
func waitInStages(
	ended <-chan string, n int, cancel context.CancelCauseFunc,
) (left int) {
	drain := time.After(time.Second)
	grace := time.After(1500 * time.Millisecond)
	for left = n; left > 0; {
		select {
		case <-ended:
			left--
		case <-drain:
			cancel(errDrainDeadline)
		case <-grace:
			return left
		}
	}
	return left
}

// oneHangs waits for three handlers. The first needs 500ms; the second needs a
// minute, and 200ms to give up when it is cancelled; the third hangs.
func oneHangs(
	ctx context.Context, s *scene,
	wait func(
		ended <-chan string, n int, cancel context.CancelCauseFunc,
	) (left int),
) verdict {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended, hang := make(chan string, 3), make(chan struct{})
	s.release = func() { close(hang) }
	end := func(id string) {
		s.log.Info("ended", "id", id)
		ended <- id
	}
	go func() {
		time.Sleep(500 * time.Millisecond)
		end("m1")
	}()
	go func() {
		if sleep(ctx, time.Minute) != nil {
			time.Sleep(200 * time.Millisecond)
		}
		end("m2")
	}()
	go func() {
		<-hang
		ended <- "m3"
	}()
	left := wait(ended, 3, cancel)
	return verdict{
		text: fmt.Sprintf("back after %v, %d of 3 abandoned",
			s.elapsed(), left),
		failed: s.elapsed() > 2*time.Second,
	}
}
