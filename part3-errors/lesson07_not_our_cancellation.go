// Lesson 3.7: not our cancellation.
//
// A restart returns an error that says "context canceled". Are we being shut
// down? Perhaps. The error may have other reasons, and a shutdown may be
// reported in other words.

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
)

// byTheError is the mistake. It asks the error whether we are being shut down.
// Every cancellation says the same, whether it is ours or not, and some
// libraries say it in words of their own.
func byTheError(ctx context.Context, d *Delivery, restart workFunc) outcome {
	err := restart(ctx, d.Message)
	switch {
	case err == nil:
		return toAck
	case errors.Is(err, context.Canceled):
		return toGiveBack // no failure: we are being shut down
	}
	return toRetry
}

// byTheCause is the fix. try and judge, which the service uses, ask our own
// context whether it has ended, and why. If it has not, any error is a failure.
// If it has, any error counts as a consequence, unless it is permanent.
func byTheCause(ctx context.Context, d *Delivery, restart workFunc) outcome {
	m := &Mandrill{log: quiet}
	err := m.try(ctx, d, restart)
	held := !errors.Is(context.Cause(ctx), errLeaseLost)
	do, _ := judge(held, nil, err)
	return do
}

// A classifyFunc restarts the host of a delivery and returns what is to become
// of it.
type classifyFunc func(
	ctx context.Context, d *Delivery, restart workFunc) outcome

// A wayToEnd is one way in which a restart may end.
type wayToEnd struct {
	name    string
	cause   error // with which the context of the handler ended, if it did
	restart workFunc
	want    outcome
}

// errRemote is how a library says that our context has ended.
var errRemote = errors.New("rpc error: code = Canceled")

// fails returns work that fails with that error.
func fails(err error) workFunc {
	return func(context.Context, Message) error { return err }
}

// joinsACall is work that asks where a rack is. Another caller has just asked
// the same question, so singleflight gives us the answer to that call. But that
// caller goes away, and takes the call with it.
func joinsACall(ctx context.Context, _ Message) error {
	var calls singleflight.Group
	theirs, goAway := context.WithCancel(context.WithoutCancel(ctx))
	go calls.Do("rack", func() (any, error) {
		return nil, sleep(theirs, time.Hour)
	})
	time.Sleep(10 * time.Millisecond) // they are first
	time.AfterFunc(10*time.Millisecond, goAway)
	_, err, _ := calls.Do("rack", func() (any, error) {
		return nil, sleep(ctx, 0)
	})
	return err
}

// waysToEnd are the eight ways, in the order of the README.
var waysToEnd = []wayToEnd{
	{"restarted", nil, fails(nil), toAck},
	{"refused", nil, fails(errRefused), toRetry},
	{"a shared call was cancelled", nil, joinsACall, toRetry},
	{"the drain cancelled it", errDrainDeadline, fails(context.Canceled),
		toGiveBack},
	{"the same, in other words", errDrainDeadline, fails(errRemote),
		toGiveBack},
	{"the lease was lost", errLeaseLost, fails(context.Canceled), toLetGo},
	{"it timed out", errTimedOut, fails(errTimedOut), toRetry},
	{"no such host, and cancelled", errDrainDeadline,
		fails(permanentError{errNoSuchHost}), toDeadLetter},
}

// eightEndings has restarts end in eight ways.
func eightEndings(
	ctx context.Context, s *scene, classify classifyFunc,
) verdict {
	right := 0
	for _, way := range waysToEnd {
		ctx, cancel := context.WithCancelCause(ctx)
		if way.cause != nil {
			cancel(way.cause)
		}
		d := &Delivery{Message: newMessage(s.seed, 1), Attempt: 1}
		got := classify(ctx, d, way.restart)
		cancel(nil)
		if got == way.want {
			right++
		}
		s.log.Info(way.name, "want", way.want, "got", got)
	}
	return verdict{
		text:   fmt.Sprintf("%d of %d right", right, len(waysToEnd)),
		failed: right < len(waysToEnd),
	}
}

var lesson07 = lesson{
	number: 7, title: "not our cancellation",
	watch:    "whether want and got differ",
	mistakes: runs(eightEndings, byTheError),
	fix:      runs(eightEndings, byTheCause),
}
