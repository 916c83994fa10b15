// Lesson 2.3: cancel is not drain.
//
// Three hosts are being restarted when the service is stopped. A restart that
// is cut short leaves a host that is half down.

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// oneContext is the mistake. The context that stops the pulling is also the
// context of the work, so all work is cancelled the instant the signal comes.
func oneContext(ctx context.Context, b *broker, restart workFunc) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for {
		d, err := b.Receive(ctx, forever)
		if err != nil {
			return
		}
		handlers.Go(func() {
			if restart(ctx, d.Message) == nil {
				d.Ack(ctx)
			}
		})
	}
}

// twoContexts is the fix. The work has a context of its own, which keeps the
// values of the first, but is not cancelled with it. (How long may the work go
// on? See lesson 6. A poll should not be cancelled either: see lesson 4.)
func twoContexts(ctx context.Context, b *broker, restart workFunc) {
	work := context.WithoutCancel(ctx)
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for {
		d, err := b.Receive(ctx, forever)
		if err != nil {
			return
		}
		handlers.Go(func() {
			if restart(work, d.Message) == nil {
				d.Ack(work)
			}
		})
	}
}

// selectBoth is the second mistake. When there is a message and the context has
// ended, both cases are ready, and select takes one at random.
func selectBoth(ctx context.Context, queue <-chan Message) (taken bool) {
	select {
	case <-ctx.Done():
		return false
	case <-queue:
		return true
	}
}

// askFirst is the fix for selectBoth. Once the context has ended, no message is
// taken. (A message taken at that very instant is given back: see lesson 4.)
func askFirst(ctx context.Context, queue <-chan Message) (taken bool) {
	if ctx.Err() != nil {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-queue:
		return true
	}
}

// A consumeFunc restarts the hosts of messages until ctx ends and its work has
// ended.
type consumeFunc func(ctx context.Context, b *broker, restart workFunc)

// threeInFlight stops a consumer that is one second into three restarts of
// three seconds each. A restart returns early when its context ends.
func threeInFlight(
	ctx context.Context, s *scene, consume consumeFunc,
) verdict {
	ctx, stop := context.WithCancelCause(ctx)
	b := newBroker(s.log, 10*time.Second, 3)
	s.broker = b
	publish(ctx, b, s.seed, 3, 0)
	time.AfterFunc(time.Second, func() {
		s.log.Info("signal")
		stop(errStopped)
	})
	consume(ctx, b, func(ctx context.Context, msg Message) error {
		if err := sleep(ctx, 3*time.Second); err != nil {
			s.log.Info("cut short", "id", msg.ID, "cause", err)
			return err
		}
		s.log.Info("restarted", "id", msg.ID)
		return nil
	})
	return verdict{
		text: fmt.Sprintf("3 in flight, %d acked, took %v",
			b.count("acked"), s.elapsed()),
		failed: b.count("acked") < 3,
	}
}

// A takeFunc receives a message from a queue, unless ctx has ended. It reports
// whether it has taken one.
type takeFunc func(ctx context.Context, queue <-chan Message) (taken bool)

// share marks a figure that differs from run to run.
func share(n, of int) string {
	if n == 0 || n == of {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("~%d", n)
}

// stopAThousandTimes offers a message to a consumer that has been stopped.
func stopAThousandTimes(
	ctx context.Context, s *scene, take takeFunc,
) verdict {
	ctx, stop := context.WithCancelCause(ctx)
	stop(errStopped)
	taken := 0
	for i := range 1000 {
		queue := make(chan Message, 1)
		queue <- newMessage(s.seed, i+1)
		if take(ctx, queue) {
			taken++
		}
	}
	return verdict{
		text: fmt.Sprintf("after the stop, %s of 1000 messages were taken",
			share(taken, 1000)),
		failed: taken > 0,
	}
}

var lesson03 = lesson{
	number: 3, core: true, title: "cancel is not drain",
	watch: "what happens after the signal",
	mistakes: append(runs(threeInFlight, oneContext),
		runs(stopAThousandTimes, selectBoth)...),
	fix: append(runs(threeInFlight, twoContexts),
		runs(stopAThousandTimes, askFirst)...),
}
