package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

// All that was published is acked or a dead letter, unless the service
// is stopped, whatever the seed, and what is delivered often is done once.
func TestService(t *testing.T) {
	happened := make(map[string]int)
	for seed := range uint64(50) {
		inBubble(t, func(t *testing.T) {
			var out bytes.Buffer
			ignore := goleak.IgnoreCurrent()
			args := []string{"-n", "20", "-seed", fmt.Sprint(seed)}
			assert.NoError(t, run(t.Context(), args, &out))
			assert.Empty(t, leaked(t, ignore))
			lines := func(what string) int {
				n := strings.Count(out.String(), "msg="+what+" ")
				happened[what] += n
				return n
			}
			acked, dead := lines("acked"), lines("dead-lettered")
			assert.Equal(t, 20, lines("published"), "published")
			assert.Equal(t, 20, acked+dead, "settled")
			assert.Equal(t, 20, lines("saved"), "saved")
			assert.Equal(t, acked, lines("restarted"), "restarted")
			assert.Equal(t, lines("nacked"), lines("failed"), "failed")
			assert.Contains(t, out.String(), fmt.Sprintf("msg=ended "+
				"published=20 acked=%d dead_lettered=%d waiting=0 "+
				"in_flight=0 undelivered=0\n", acked, dead))
		})
	}
	assert.Greater(t, happened["dead-lettered"], 20)
	assert.Greater(t, happened["failed"], 20)
}

// The flags reach the service: how long the broker may fail, and how long a
// drain takes. What became of every message is in the last line.
func TestServiceFlags(t *testing.T) {
	const outOfReach = ": broker out of reach"
	for _, tt := range []struct {
		args       string
		signal     time.Duration
		want       string // error
		wantStatus int
		wantTook   time.Duration // at least, and at most a poll longer
	}{
		{"-outage -1 -give-up 3s", time.Hour,
			"receive failed for 3s" + outOfReach, 1, 4 * time.Second},
		{"-outage -1", time.Hour,
			"receive failed for 1m0s" + outOfReach, 1, 61 * time.Second},
		{"-drain 100ms", 4 * time.Second,
			"drain deadline passed", 3, 4100 * time.Millisecond},
	} {
		t.Run(tt.args, func(t *testing.T) {
			forced := 0
			for seed := range uint64(10) {
				inBubble(t, func(t *testing.T) {
					var out lines
					start := time.Now()
					ctx, stop := context.WithTimeoutCause(
						t.Context(), tt.signal, errStopped)
					defer stop()
					args := append(strings.Fields(tt.args),
						"-seed", fmt.Sprint(seed))
					err := run(ctx, args, &out)
					if err == nil {
						return // all ended in time, with this seed
					}
					forced++
					took := time.Since(start)
					assert.Equal(t, tt.wantStatus, status(err), "exit status")
					assert.Equal(t, 1, strings.Count(err.Error(), tt.want), err)
					assert.GreaterOrEqual(t, took, tt.wantTook, "took")
					assert.LessOrEqual(t, took, tt.wantTook+3*time.Second)
					var is struct{ p, a, d, w, f, u int }
					_, last, _ := strings.Cut(out.text.String(), "msg=ended ")
					_, err = fmt.Sscanf(last, "published=%d acked=%d "+
						"dead_lettered=%d waiting=%d in_flight=%d "+
						"undelivered=%d", &is.p, &is.a, &is.d, &is.w, &is.f,
						&is.u)
					assert.NoError(t, err, last)
					assert.Equal(t, is.p, is.a+is.d+is.w+is.f+is.u, last)
					assert.Zero(t, is.f, "in flight")
					if tt.wantStatus == 3 {
						assert.Positive(t, is.w, "waiting")
						assert.LessOrEqual(t, took,
							tt.wantTook+400*time.Millisecond, "took")
					}
				})
			}
			assert.Greater(t, forced, 5, "runs")
		})
	}
}

// An outage does not make the service restart a host twice, or wait for the
// wrong time.
func TestServiceSurvivesAnOutage(t *testing.T) {
	again := regexp.MustCompile(
		`msg=failed id=(m\d+) attempt=\d+ failures=(\d+) again_in=(\S+)`)
	failures := 0
	for seed := range uint64(20) {
		inBubble(t, func(t *testing.T) {
			var out lines
			args := []string{"-n", "20", "-outage", "4s", "-seed",
				fmt.Sprint(seed)}
			assert.NoError(t, run(t.Context(), args, &out))
			for i := range 20 {
				line := fmt.Sprintf("msg=restarted id=m%d ", i+1)
				assert.LessOrEqual(t, out.count(line), 1, line)
			}
			for _, m := range again.FindAllStringSubmatch(
				out.text.String(), -1) {
				n, _ := strconv.Atoi(m[2])
				want := backoff(seed, Message{ID: m[1]}, time.Second, n)
				assert.Equal(t, want.String(), m[3], m[0])
				failures++
			}
		})
	}
	assert.Greater(t, failures, 20)
}

// What can't be written is a failure, but no reason to stop: no message is lost
// over it.
func TestLogFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		full := errors.New("no space left on device")
		acked := 0
		err := run(t.Context(), []string{"-n", "3"}, writer(
			func(p []byte) (int, error) {
				acked += strings.Count(string(p), "msg=acked")
				return 0, full
			}))
		assert.ErrorIs(t, err, full)
		assert.Equal(t, 1, status(err), "exit status")
		assert.Equal(t, 3, acked, "acked")
	})
}
