// Lesson 7.6: the road.
//
// Two thousand messages are in flight, and each has a lease that has to be
// extended. How does a service keep two thousand leases?

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// keepInGoroutine is the mistake. It is keepLease as part 6 had it: each lease
// has a goroutine, with a ticker and a timer.
func keepInGoroutine(
	ctx context.Context, log *slog.Logger, d *Delivery, lease time.Duration,
) (leased context.Context, release func()) {
	leased, cancel := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() {
		err := contain(func() error {
			return extendAgain(leased, log, d, lease)
		})
		if err != nil {
			d.until = time.Now()
			cancel(errLeaseLost)
			logPanic(log, err, "id", d.ID, "attempt", d.Attempt)
		}
	})
	return leased, func() {
		cancel(nil)
		keeper.Wait()
	}
}

// extendAgain extends a lease again and again, until ctx ends, and returns nil,
// or until the lease is lost, and returns errLeaseLost.
func extendAgain(
	ctx context.Context, log *slog.Logger, d *Delivery, lease time.Duration,
) error {
	tick := time.NewTicker(lease / 5 * 2)
	defer tick.Stop()
	over := time.NewTimer(time.Until(d.until))
	defer over.Stop()
	var sent time.Time    // when the extension under way was sent
	var answer chan error // to it; nil if none is under way
	ended := ctx.Done()   // nil once we have seen it
	for ended != nil || answer != nil {
		select {
		case <-ended:
			ended = nil // wait only for the answer
		case <-over.C:
			log.Warn("lease lost", "id", d.ID, "attempt", d.Attempt)
			return errLeaseLost
		case <-tick.C:
			if answer == nil {
				sent, answer = time.Now(), make(chan error, 1)
				go extend(ctx, d, lease/4, answer)
			}
		case err := <-answer:
			answer = nil
			switch {
			case err == nil:
				d.until = sent.Add(lease)
				over.Reset(time.Until(d.until))
			case errors.Is(err, errLeaseLost), errors.Is(err, errSettled):
				log.Warn("lease lost", "id", d.ID, "attempt", d.Attempt,
					"err", oneLine(err))
				return errLeaseLost
			case ended != nil: // we did not cancel it
				logPanic(log, err, "id", d.ID, "attempt", d.Attempt)
				log.Warn("not extended", "id", d.ID, "attempt", d.Attempt,
					"err", oneLine(err))
			}
		}
	}
	return nil
}

// extend extends a lease once. It has a goroutine of its own, because the
// keeper must notice the end of the lease even if the broker never answers. Its
// time-out leaves time for another try.
func extend(
	ctx context.Context, d *Delivery, timeout time.Duration,
	answer chan<- error,
) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errNoAnswer)
	defer cancel()
	answer <- contain(func() error { return d.Extend(ctx) })
}

// The fix is keepLease, which the service uses.
var _ keepFunc = keepLease

// A keepFunc keeps a lease: see keepLease.
type keepFunc func(
	ctx context.Context, log *slog.Logger, d *Delivery, lease time.Duration,
) (leased context.Context, release func())

// keepMany keeps two thousand leases of three seconds, for longer than that. It
// counts the goroutines, the bytes and the extensions.
func keepMany(ctx context.Context, s *scene, keep keepFunc) verdict {
	const leases = 2000
	var extended counted
	var list []*Delivery
	for i := range leases {
		list = append(list, &Delivery{
			Message: newMessage(s.seed, i+1), Attempt: 1, verbs: &extended,
		})
	}
	releases := make([]func(), 0, leases)
	goroutines, bytes := runtime.NumGoroutine(), inUse()
	for _, d := range list {
		d.until = time.Now().Add(3 * time.Second)
		_, release := keep(ctx, s.log, d, 3*time.Second)
		releases = append(releases, release)
	}
	goroutines, bytes = runtime.NumGoroutine()-goroutines, inUse()-bytes
	s.log.Info("keeping", "leases", leases, "goroutines", goroutines,
		"bytes_each", roughly(bytes/leases))
	time.Sleep(3500 * time.Millisecond)
	held := 0
	for i, d := range list {
		releases[i]()
		if d.held() {
			held++
		}
	}
	s.log.Info("released", "held", roughly(held),
		"extended", roughly(extended.times.Load()))
	return verdict{}
}

// inUse returns the bytes of heap and stacks that are in use.
func inUse() int64 {
	runtime.GC()
	runtime.GC() // the first may still have been sweeping
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// counted verbs count the extensions. The broker accepts everything.
type counted struct{ times atomic.Int64 }

// Extend implements verbs.
func (c *counted) Extend(context.Context) error {
	c.times.Add(1)
	return nil
}

// Ack implements verbs.
func (*counted) Ack(context.Context) error { return nil }

// Nack implements verbs.
func (*counted) Nack(context.Context, time.Duration) error { return nil }

// DeadLetter implements verbs.
func (*counted) DeadLetter(context.Context, error) error { return nil }

// judgeKeeping is the verdict on two thousand leases. It has failed if they
// have goroutines of their own, or if most of them are lost.
func judgeKeeping(endings []ending) verdict {
	m := regexp.MustCompile(`(?s)leases=(\d+) goroutines=(-?\d+) ` +
		`bytes_each=~(\d+).*held=~(\d+)`).
		FindStringSubmatch(endings[0].printed)
	if m == nil {
		return verdict{}
	}
	held, _ := strconv.Atoi(m[4])
	return verdict{
		fmt.Sprintf("~%d of %s leases kept, by %s goroutines and "+
			"~%s bytes each", held, m[1], m[2], m[3]),
		m[2] != "0" || held < 1000,
	}
}

var lesson06 = lesson{
	number: 6, core: true, title: "the road",
	watch: "how many goroutines keep two thousand leases",
	mistakes: inChild(child{verdict: judgeKeeping},
		runs(keepMany, keepInGoroutine)),
	fix: inChild(child{verdict: judgeKeeping}, runs(keepMany, keepLease)),
}
