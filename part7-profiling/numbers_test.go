package main

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The page has what the operator wants to know, and it is true.
func TestNumbers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, start := quietBroker(2*time.Second, 10), time.Now()
		lost, failed := false, false
		b.fail = func(verb, id string) (bool, error) {
			switch {
			case id == "m4" && verb == "extend" && !lost:
				lost = true
				return false, errLeaseLost
			case verb == "receive" && time.Since(start) > 20*time.Second &&
				!failed:
				failed = true
				return false, errUnreachable
			case id == "m5" && verb == "ack" &&
				time.Since(start) < 4*time.Second:
				return false, errUnreachable
			}
			return false, nil
		}
		m := newMandrill(b, func(m *Mandrill) {
			m.slots, m.maxFailures = 10, 2
			m.restart = func(ctx context.Context, msg Message) error {
				switch msg.ID {
				case "m2":
					return permanentError{errNoSuchHost}
				case "m3":
					return errRefused
				}
				return sleep(ctx, time.Second)
			}
		})
		publishOnly(t, b, 6)
		page := func() (v struct {
			InFlight   int                        `json:"in_flight"`
			Settled    map[string]int             `json:"settled"`
			NotSettled int                        `json:"not_settled"`
			LeasesLost int                        `json:"leases_lost"`
			Receive    int                        `json:"receive_failed"`
			Latency    struct{ P50, P99 float64 } `json:"latency_seconds"`
		}) {
			w := httptest.NewRecorder()
			m.showNumbers(w, nil)
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
			return v
		}
		startService(t, m)
		time.Sleep(time.Second / 2)
		assert.Equal(t, 4, page().InFlight, "m1, m4, m5, m6")
		time.Sleep(time.Minute)
		v := page()
		assert.Equal(t, map[string]int{
			"ack": 4, "dead letter": 2, "retry": 1, "let go": 1,
		}, v.Settled)
		assert.Equal(t, 1, v.NotSettled, "m5")
		assert.Equal(t, 1, v.LeasesLost, "m4")
		assert.Equal(t, 1, v.Receive, "polls that failed")
		assert.InDelta(t, 1, v.Latency.P50, 0.11, "seconds")
		assert.Greater(t, v.Latency.P99, 3., "m5: seconds")
	})
}

// An ack that comes too late has settled nothing, so it is not counted as one.
func TestNumbersTooLate(t *testing.T) {
	var n numbers
	d := newDelivery(newMessage(1, 1))
	n.count(d, toAck, false, nil)
	n.count(d, toDeadLetter, false, nil)
	n.count(d, toAck, true, nil)
	n.count(d, toAck, false, errNoAnswer)
	assert.JSONEq(t, `{"ack": 1, "too late": 2}`, n.settled.String())
	assert.EqualValues(t, 1, n.handled())
	assert.EqualValues(t, 1, n.notSettled.Value())
}

// The service is ready from the first answer of the broker until it is stopped,
// except while the broker is out of reach.
func TestReady(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, start := quietBroker(2*time.Second, 10), time.Now()
		b.slow = map[string]time.Duration{"receive": time.Second / 10}
		b.fail = func(verb, _ string) (bool, error) {
			since := time.Since(start)
			if since > 3*time.Second && since < 5*time.Second {
				return false, errUnreachable
			}
			return false, nil
		}
		publishOnly(t, b, 1)
		m := newMandrill(b, func(m *Mandrill) {
			m.restart = takes(20 * time.Second)
			m.slots, m.timeout = 2, time.Minute
		})
		ready := func() int {
			w := httptest.NewRecorder()
			m.showReady(w, nil)
			return w.Code
		}
		ctx, stop := context.WithCancelCause(t.Context())
		var service sync.WaitGroup
		service.Go(func() { m.Run(ctx) })
		for _, row := range []struct {
			at   time.Duration
			want int
		}{
			{50 * time.Millisecond, 503}, // nothing has answered yet
			{2 * time.Second, 200},
			{4 * time.Second, 503},
			{9 * time.Second, 200},
		} {
			time.Sleep(time.Until(start.Add(row.at)))
			assert.Equal(t, row.want, ready(), "at %v", row.at)
		}
		stop(errStopped)
		time.Sleep(time.Second) // it drains
		assert.Equal(t, 503, ready(), "stopping")
		service.Wait()
	})
}

// A quantile of the histogram is at most a tenth too high.
func TestHistogram(t *testing.T) {
	var h histogram
	for n := range 1000 {
		h.add(time.Duration(n+1) * time.Millisecond)
	}
	for share, want := range map[float64]float64{0.5: 0.5, 0.99: 0.99} {
		got := quantile(h.read(), share)
		assert.GreaterOrEqual(t, got, want, "%v", share)
		assert.LessOrEqual(t, got, want*growth, "%v", share)
	}
	before := h.read()
	h.add(time.Microsecond) // less than there is a bucket for
	h.add(24 * time.Hour)   // more
	h.add(-time.Second)     // the broker's clock is ahead of ours
	added := since(h.read(), before)
	assert.Equal(t, uint64(2), added.Counts[0])
	assert.Equal(t, uint64(1), added.Counts[len(added.Counts)-1])
	assert.Zero(t, quantile(since(before, before), 0.5), "nothing was added")
}

// A rounded time has three digits.
func TestRounded(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0s", 0.0000123456: "12.3µs", 0.0184512: "18.5ms", 1.23456: "1.23s",
	} {
		assert.Equal(t, want, rounded(seconds).String())
	}
}
