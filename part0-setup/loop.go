package main

import (
	"iter"
	"slices"
	"time"
)

// A loop is what an event loop is at its heart: a queue of calls that are
// ready, calls that wait for their time, and one goroutine that makes one call
// after the other. After Łukasz Langa's slides 17 to 36. Not for use from more
// than one goroutine: that is the idea.
type loop struct {
	ready   []func()
	timers  []timer // the next one first
	stopped bool
}

type timer struct {
	at   time.Time
	call func()
}

// callSoon makes the call when it is its turn.
func (l *loop) callSoon(call func()) {
	l.ready = append(l.ready, call)
}

// callLater makes the call when d has passed and it is its turn: not before.
func (l *loop) callLater(d time.Duration, call func()) {
	l.timers = append(l.timers, timer{time.Now().Add(d), call})
	slices.SortStableFunc(l.timers, func(a, b timer) int {
		return a.at.Compare(b.at)
	})
}

// task steps through a coroutine: a function that now and then says how long it
// has nothing to do. Between two steps the other tasks have their turn. A
// caller that does not let it run to its end must call cancel, or its goroutine
// stays for ever.
func (l *loop) task(coroutine iter.Seq[time.Duration]) (cancel func()) {
	next, cancel := iter.Pull(coroutine)
	var step func()
	step = func() {
		if d, ok := next(); ok {
			l.callLater(d, step)
		}
	}
	l.callSoon(step)
	return cancel
}

// stop ends run after the calls that are ready.
func (l *loop) stop() { l.stopped = true }

// run makes calls until stop, or until there are none. It blocks meanwhile. (A
// real one waits for input and output, too, while there is nothing to call.)
func (l *loop) run() {
	for !l.stopped && len(l.ready)+len(l.timers) > 0 {
		if len(l.ready) == 0 {
			time.Sleep(time.Until(l.timers[0].at))
		}
		for len(l.timers) > 0 && !time.Now().Before(l.timers[0].at) {
			l.callSoon(l.timers[0].call)
			l.timers = l.timers[1:]
		}
		ready := l.ready
		l.ready = nil
		for _, call := range ready {
			call()
		}
	}
}
