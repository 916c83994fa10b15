package main

import (
	"iter"
	"slices"
	"time"
)

// A loop is a small event loop: a queue of calls that are ready, calls that are
// due later, and one goroutine that makes one call after the other. It follows
// slides 17 to 36 of Łukasz Langa's talk. Use it from one goroutine only.
type loop struct {
	ready   []func()
	timers  []timer // the next one first
	stopped bool
}

// A timer is a call that is due later.
type timer struct {
	at   time.Time
	call func()
}

// callSoon queues the call behind those that are already ready.
func (l *loop) callSoon(call func()) {
	l.ready = append(l.ready, call)
}

// callLater queues the call when d has passed, or later if the loop is busy.
func (l *loop) callLater(d time.Duration, call func()) {
	l.timers = append(l.timers, timer{time.Now().Add(d), call})
	slices.SortStableFunc(l.timers, func(a, b timer) int {
		return a.at.Compare(b.at)
	})
}

// task steps through a coroutine: a function that yields how long it wants to
// sleep. Between two steps the other tasks have their turn. A caller that
// doesn't run a task to its end must call cancel. Otherwise its goroutine
// leaks.
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

// stop makes run return when the calls that are ready have been made.
func (l *loop) stop() { l.stopped = true }

// run makes calls. It blocks until stop is called or no call is left. (A real
// loop also waits for input and output.)
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
