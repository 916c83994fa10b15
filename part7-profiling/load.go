package main

import (
	"fmt"
	"io"
	"runtime/metrics"
	"time"
)

// reportLoad prints a line each second until stop is called: how many messages
// were handled so far and in the last second, how many are in flight, and how
// long those of the last second took from publish to settled. stop prints a
// line about all of it, and returns when that is done.
func (m *Mandrill) reportLoad(out io.Writer) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		begun := time.Now()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		none := reading{at: begun, latency: new(histogram).read()}
		last := none
		for {
			select {
			case <-tick.C:
				now := m.read(time.Now())
				now.print(out, "load", last)
				last = now
			case <-done:
				// The last poll may have waited in vain, so take the time of
				// the last message.
				end := time.Unix(0, m.numbers.last.Load())
				m.read(end).print(out, "in all", none)
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// A reading is what the numbers were at a time.
type reading struct {
	at       time.Time
	handled  int64
	inFlight int
	latency  *metrics.Float64Histogram
}

// read reads the numbers.
func (m *Mandrill) read(at time.Time) reading {
	return reading{at, m.numbers.handled(), m.inFlight.count(),
		m.numbers.latency.read()}
}

// print prints a line about what has happened since an earlier reading.
func (r reading) print(out io.Writer, what string, before reading) {
	seconds := max(r.at.Sub(before.at), time.Millisecond).Seconds()
	latency := since(r.latency, before.latency)
	fmt.Fprintf(out, "%s: handled=%d in_flight=%d rate=%.0f/s p50=%v p99=%v\n",
		what, r.handled, r.inFlight,
		float64(r.handled-before.handled)/seconds,
		rounded(quantile(latency, 0.5)), rounded(quantile(latency, 0.99)))
}

// rounded returns a number of seconds as a duration of three digits or so.
func rounded(seconds float64) time.Duration {
	d := time.Duration(seconds * float64(time.Second))
	unit := time.Duration(1)
	for unit*1000 < d {
		unit *= 10
	}
	return d.Round(unit)
}
