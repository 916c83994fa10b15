package main

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

// Three calls that block for 1s, 2s and 3s, and a stop that is due at 2s.
func TestLoopAndBlockingCalls(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name      string
		run       func(block func(time.Duration), stop func())
		wantStart []time.Duration
		wantStop  time.Duration
	}{
		{"on the loop they delay each other, and the stop", onTheLoop,
			[]time.Duration{0, 1 * s, 3 * s}, 6 * s},
		{"goroutines don't delay each other", asGoroutines,
			[]time.Duration{0, 0, 0}, 2 * s},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				start := time.Now()
				started := make(chan time.Duration, 3)
				var stopped time.Duration
				tt.run(func(d time.Duration) {
					started <- time.Since(start)
					time.Sleep(d)
				}, func() {
					stopped = time.Since(start)
				})
				close(started)
				var got []time.Duration
				for d := range started {
					got = append(got, d)
				}
				assert.Equal(t, tt.wantStart, got)
				assert.Equal(t, tt.wantStop, stopped)
			})
		})
	}
}

func onTheLoop(block func(time.Duration), stop func()) {
	var l loop
	for i := range 3 {
		l.callSoon(func() { block(time.Duration(i+1) * time.Second) })
	}
	l.callLater(2*time.Second, func() {
		stop()
		l.stop()
	})
	l.run()
}

func asGoroutines(block func(time.Duration), stop func()) {
	var calls sync.WaitGroup
	defer calls.Wait()
	for i := range 3 {
		calls.Go(func() { block(time.Duration(i+1) * time.Second) })
	}
	time.Sleep(2 * time.Second)
	stop()
}

// The loop makes its calls in order, and does nothing while it has none.
func TestLoopKeepsOrder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var l loop
		start, called := time.Now(), []string(nil)
		note := func(what string) func() {
			return func() {
				called = append(called,
					fmt.Sprintf("%v: %s", time.Since(start), what))
			}
		}
		l.callLater(2*time.Second, l.stop)
		l.callLater(time.Second, note("later"))
		l.callLater(3*time.Second, note("never"))
		l.callSoon(note("one"))
		l.callSoon(note("two"))
		l.run()
		assert.Equal(t, []string{"0s: one", "0s: two", "1s: later"}, called)
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

// Tasks take turns, a step at a time. During a step no other task runs, so
// what they share needs no lock. (The race detector agrees.)
func TestLoopTasksTakeTurns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var l loop
		var turns []int // shared by all three
		for i := range 3 {
			defer l.task(func(yield func(time.Duration) bool) {
				for range 3 {
					turns = append(turns, i+1)
					if !yield(0) {
						return
					}
				}
			})()
		}
		l.run()
		assert.Equal(t, []int{1, 2, 3, 1, 2, 3, 1, 2, 3}, turns)
	})
}

// A task that has not ended when the loop stops leaks, unless it is cancelled.
func TestLoopLeaks(t *testing.T) {
	tests := []struct {
		name     string
		end      func(cancel func())
		wantLeft map[string]int
	}{
		{"mistake: forgotten", func(func()) {},
			map[string]int{"coroutine in threeSeconds": 1}},
		{"fix: cancelled", func(cancel func()) { cancel() }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var l loop
				ignore := goleak.IgnoreCurrent()
				cancel := l.task(threeSeconds)
				l.callLater(2*time.Second, l.stop)
				l.run()
				tt.end(cancel)
				assert.Equal(t, tt.wantLeft, leaked(t, ignore))
				cancel() // release it
			})
		})
	}
}

// threeSeconds sleeps for a second, three times.
func threeSeconds(yield func(time.Duration) bool) {
	for range 3 {
		if !yield(time.Second) {
			return
		}
	}
}
