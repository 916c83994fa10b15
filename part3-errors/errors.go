package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// Why the context of a handler, or of an attempt, may end. context.Cause tells
// them apart; the error that comes back from the work does not.
var (
	errDrainDeadline = errors.New("drain deadline passed")
	errTimedOut      = errors.New("timed out")
	errSettleTimeout = errors.New("settlement took too long")
	errNothing       = errors.New("no message for a while")
)

// errNoResult is what work has come to before it has returned. Work that ends
// its goroutine never does.
var errNoResult = errors.New("it did not return")

// What may be wrong with a host.
var (
	errNoSuchHost = errors.New("no such host")
	errRefused    = errors.New("restart refused")
)

// A permanentError is a failure that another attempt will not mend.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// A panicError is a panic that was contained, with the stack where it began.
type panicError struct {
	value any
	stack []byte
}

func (e panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// stackOf returns where a contained panic began, or nothing.
func stackOf(err error) string {
	p, _ := errors.AsType[panicError](err)
	return string(p.stack)
}

// contain calls f and turns a panic of this goroutine into an error. It must be
// called in every goroutine: a panic does not go to the one who started it.
func contain(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError{p, debug.Stack()}
		}
	}()
	return f()
}

// attempt does work once: contained, and not for longer than that, if it heeds
// its context. If the work says no more than that it was cancelled, and its
// context has ended, the error is why that ended. (If its context has not,
// somebody else's did: a failure.)
func attempt(
	ctx context.Context, msg Message, work workFunc, longest time.Duration,
) error {
	ctx, cancel := context.WithTimeoutCause(ctx, longest, errTimedOut)
	defer cancel()
	err := contain(func() error { return work(ctx, msg) })
	if err != nil && unlessStopped(ctx, err) == nil {
		return context.Cause(ctx)
	}
	return err
}

// An outcome is what to do with a message when its handler has ended.
type outcome string

const (
	toAck        outcome = "ack"
	toRetry      outcome = "retry"       // a failure: it counts
	toDeadLetter outcome = "dead-letter" // nobody can do it
	toGiveBack   outcome = "give back"   // not its fault: it does not count
	toLetGo      outcome = "hands off"   // somebody else has it
)

// judge decides by what became of the work, of the lease and of us.
func judge(held bool, saved, restarted error) outcome {
	err := errors.Join(saved, restarted)
	_, permanent := errors.AsType[permanentError](err)
	switch {
	case !held:
		return toLetGo
	case err == nil:
		return toAck
	case permanent:
		return toDeadLetter
	case only(saved, restarted, errDrainDeadline, errStillAtIt):
		return toGiveBack
	}
	return toRetry
}

// only reports whether two errors, where there are any, are among those.
func only(a, b error, those ...error) bool {
	among := func(err error) bool {
		return err == nil || slices.ContainsFunc(those, func(one error) bool {
			return errors.Is(err, one)
		})
	}
	return among(a) && among(b)
}

// backoff returns the pause after so many failures: 50ms that double each time,
// up to a minute, less a share of up to a half. The share is drawn from the
// seed, so that messages that failed together don't come back together.
func backoff(seed uint64, msg Message, failures int) time.Duration {
	pause := min(50*time.Millisecond<<min(failures-1, 11), time.Minute)
	share := random(seed, msg.ID, "backoff", fmt.Sprint(failures)).Float64() / 2
	return (pause - time.Duration(share*float64(pause))).
		Round(time.Millisecond)
}
