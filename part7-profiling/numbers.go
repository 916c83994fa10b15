package main

import (
	"expvar"
	"math"
	"net/http"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// The numbers are what an operator of the service watches. They count from the
// beginning. The page /debug/vars shows them, and -load prints some of them.
// The zero value is ready to use. Their methods may be called from any
// goroutine.
type numbers struct {
	settled    expvar.Map   // deliveries that ended, by outcome
	notSettled expvar.Int   // deliveries that were left in doubt
	leasesLost expvar.Int   // while a handler was working
	notAsked   expvar.Int   // polls that failed
	latency    histogram    // of messages, from publish to settled for good
	last       atomic.Int64 // when a message was settled: nanoseconds, Unix
}

// count counts a delivery that is over: what the broker was told, whether the
// message is settled for good, and the error if the broker may not have heard.
func (n *numbers) count(d *Delivery, do outcome, settled bool, err error) {
	switch {
	case err != nil:
		n.notSettled.Add(1)
		return
	case settled:
		n.latency.add(time.Since(d.Published))
		n.last.Store(time.Now().UnixNano())
	case do == toAck, do == toDeadLetter:
		do = "too late" // the lease was lost, so it is delivered again
	}
	n.settled.Add(string(do), 1)
}

// handled returns how many messages were settled for good.
func (n *numbers) handled() (sum int64) {
	for _, do := range []outcome{toAck, toDeadLetter} {
		if v, ok := n.settled.Get(string(do)).(*expvar.Int); ok {
			sum += v.Value()
		}
	}
	return sum
}

// showNumbers shows the numbers in JSON, as package expvar does. That package
// has put a page on http.DefaultServeMux as well, which also shows the command
// line. We don't serve that mux.
func (m *Mandrill) showNumbers(w http.ResponseWriter, _ *http.Request) {
	var page expvar.Map
	for name, v := range map[string]expvar.Var{
		"in_flight":      expvar.Func(func() any { return m.inFlight.count() }),
		"settled":        &m.numbers.settled,
		"not_settled":    &m.numbers.notSettled,
		"leases_lost":    &m.numbers.leasesLost,
		"receive_failed": &m.numbers.notAsked,
		"latency_seconds": expvar.Func(func() any {
			h := m.numbers.latency.read()
			return map[string]float64{
				"p50": quantile(h, 0.5), "p99": quantile(h, 0.99),
			}
		}),
	} {
		page.Set(name, v)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write([]byte(page.String() + "\n"))
}

// showReady answers 200 if the broker has answered the last poll and the
// service is not being stopped, and 503 otherwise.
func (m *Mandrill) showReady(w http.ResponseWriter, _ *http.Request) {
	if !m.ready.Load() || m.stopping.Load() {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	w.Write([]byte("ready\n"))
}

// A histogram counts durations from 10µs to about half an hour. Its buckets
// grow by a tenth, so a quantile is at most a tenth too high. The zero value is
// ready to use. Its methods may be called from any goroutine.
type histogram [200]atomic.Uint64

// The bounds of the buckets.
const (
	firstBucket = 10 * time.Microsecond
	growth      = 1.1
)

// add counts a duration.
func (h *histogram) add(d time.Duration) {
	i := 0
	if d > firstBucket {
		i = int(math.Log(float64(d)/float64(firstBucket)) / math.Log(growth))
	}
	h[min(i, len(h)-1)].Add(1)
}

// read returns the counts, in the form of the runtime's metrics, so quantile
// can read them. The bounds are in seconds.
func (h *histogram) read() *metrics.Float64Histogram {
	now := &metrics.Float64Histogram{Buckets: []float64{0}}
	for i := range h {
		now.Counts = append(now.Counts, h[i].Load())
		now.Buckets = append(now.Buckets,
			firstBucket.Seconds()*math.Pow(growth, float64(i+1)))
	}
	return now
}

// since returns what has been added to a histogram since an earlier reading.
func since(now, before *metrics.Float64Histogram) *metrics.Float64Histogram {
	added := &metrics.Float64Histogram{Buckets: now.Buckets}
	for i, n := range now.Counts {
		added.Counts = append(added.Counts, n-before.Counts[i])
	}
	return added
}
