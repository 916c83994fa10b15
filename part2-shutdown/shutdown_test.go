package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var onlySeed = flag.Int("property.seed", -1, "try this seed only")

// Whatever happens, and whenever the signal comes, the service keeps its word.
// A run is drawn from its seed: how long things take, what heeds nothing, what
// hangs, and the instant of the signal.
func TestShutdownProperties(t *testing.T) {
	const seeds = 1000
	happened := make(map[string]int)
	for seed := range uint64(seeds) {
		if *onlySeed >= 0 && seed != uint64(*onlySeed) {
			continue
		}
		inBubble(t, func(t *testing.T) { shutDownOnce(t, seed, happened) })
		require.False(t, t.Failed(), "repeat it with: go test "+
			"./part2-shutdown -run TestShutdownProperties -property.seed %d",
			seed)
	}
	t.Log(happened)
	if *onlySeed >= 0 {
		return
	}
	for _, event := range []string{
		"signal while pulling", "signal while working",
		"signal while settling", "signal in the drain", "given back unbegun",
		"drained", "forced", "abandoned", "settled too late",
	} {
		assert.GreaterOrEqual(t, happened[event], 20, event)
	}
}

func shutDownOnce(t *testing.T, seed uint64, happened map[string]int) {
	draw := random(seed, "shutdown")
	upTo := func(d time.Duration) time.Duration {
		return time.Duration(draw.Int64N(int64(d)))
	}
	start, ignore := time.Now(), goleak.IgnoreCurrent()
	b := newBroker(slog.New(slog.DiscardHandler), time.Minute, 10)
	b.slow = map[string]time.Duration{
		"receive": upTo(100 * time.Millisecond),
		"ack":     upTo(600 * time.Millisecond), // 500 are too long
		"nack":    upTo(600 * time.Millisecond),
	}
	n, pause := 1+draw.IntN(20), upTo(time.Second)
	signal := upTo(8 * time.Second)
	hangs, deaf := draw.IntN(8) == 0, draw.IntN(3) == 0
	longest, hang := 1+upTo(4*time.Second), make(chan struct{})

	var mu sync.Mutex
	var lastBegin time.Duration
	work := func(what string) workFunc {
		return func(ctx context.Context, msg Message) error {
			mu.Lock()
			lastBegin = max(lastBegin, time.Since(start))
			mu.Unlock()
			draw := random(seed, msg.ID, what)
			takes := time.Duration(draw.Int64N(int64(longest)))
			switch {
			case hangs && draw.IntN(4) == 0:
				<-hang
				return errors.New("it hung")
			case deaf && draw.IntN(2) == 0:
				time.Sleep(takes)
				return nil
			}
			return sleep(ctx, takes)
		}
	}
	m := &Mandrill{
		log:     b.log,
		broker:  b,
		save:    work("save"),
		restart: work("restart"),
		slots:   1 + draw.IntN(4),
		drain:   1 + upTo(3*time.Second),
		grace:   time.Second,
	}
	ctx, stop := context.WithTimeoutCause(t.Context(), signal, errStopped)
	defer stop()
	var publisher sync.WaitGroup
	publisher.Go(func() {
		assert.NoError(t, publish(ctx, b, seed, n, pause))
	})
	err := m.Run(ctx)
	took := time.Since(start)
	publisher.Wait()

	// Back within its budget.
	assert.LessOrEqual(t, took,
		signal+b.slow["receive"]+m.drain+m.grace, "took")
	// Nothing begun after the signal.
	mu.Lock()
	assert.LessOrEqual(t, lastBegin, signal, "last begin")
	mu.Unlock()
	// Every message accounted for.
	abandoned, isAbandoned := errors.AsType[abandonedError](err)
	assert.Equal(t, b.count("published"),
		b.count("acked")+b.count("nacked")+len(abandoned)+b.undelivered())
	// Nothing settled twice, and none refused but what took too long.
	settled, delivered := make(map[string]int), 0
	settling, late, before, tooLate := false, 0, 0, 0
	b.mu.Lock()
	record := slices.Clone(b.record)
	b.mu.Unlock()
	for _, e := range record {
		if (e.What == "acked" || e.What == "nacked") && e.At < signal {
			before++
		}
		switch e.What {
		case "delivered":
			delivered++
			if e.At+b.slow["receive"] > signal {
				late++
			}
		case "acked":
			settled[e.ID]++
			settling = settling || e.At-b.slow["ack"] < signal && signal < e.At
		case "nacked":
			settled[e.ID]++
		case "ack refused", "nack refused":
			assert.ErrorIs(t, e.Reason, errSettleTimeout)
			assert.Contains(t, abandoned, e.ID)
			happened["settled too late"]++
			tooLate++
		case "published", "extended":
		default:
			assert.Fail(t, "not expected", "%v", e)
		}
	}
	for id, times := range settled {
		assert.Equal(t, 1, times, id)
		assert.NotContains(t, abandoned, id)
	}
	// No goroutine left but those of the messages that it names: a handler, and
	// the two that it waits for.
	left := 0
	for _, n := range leaked(ignore) {
		left += n
	}
	assert.LessOrEqual(t, left, 3*len(abandoned))
	// What happened? It was forced when the drain was over, and not before.
	over := signal + m.drain
	switch {
	case isAbandoned:
		assert.True(t, hangs || deaf || tooLate > 0, "what heeds is not")
		happened["abandoned"]++
	case err != nil:
		assert.Equal(t, forcedError{}, err)
		assert.GreaterOrEqual(t, took, over)
		happened["forced"]++
	default:
		assert.LessOrEqual(t, took, over+b.slow["receive"])
		happened["drained"]++
	}
	ended := took < signal
	inFlight := delivered - late - before
	if !ended && late > 0 {
		happened["signal while pulling"]++
	}
	if !ended && inFlight > 0 {
		happened["signal while working"]++
	}
	if settling {
		happened["signal while settling"]++
	}
	if !ended && delivered == n && late == 0 && inFlight > 0 {
		happened["signal in the drain"]++
	}
	if late > 0 && b.count("nacked") > 0 {
		happened["given back unbegun"]++
	}

	close(hang)
	time.Sleep(time.Minute) // and then nobody: the bubble would panic
}
