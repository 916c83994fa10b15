package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var onlySeed = flag.Int("property.seed", -1, "try this seed only")

// Whatever goes wrong, and whenever the signal comes, the service keeps its
// word. A run is drawn from its seed: how long things take, what fails, panics,
// heeds nothing or hangs, whether leases are lost, and the instant of the
// signal.
func TestProperties(t *testing.T) {
	const seeds = 1000
	happened := make(map[string]int)
	for seed := range uint64(seeds) {
		if *onlySeed >= 0 && seed != uint64(*onlySeed) {
			continue
		}
		inBubble(t, func(t *testing.T) { serveOnce(t, seed, happened) })
		require.False(t, t.Failed(), "repeat it with: go test "+
			"./part3-errors -run TestProperties -property.seed %d", seed)
	}
	t.Log(happened)
	if *onlySeed >= 0 {
		return
	}
	for _, event := range []string{
		"signal while pulling", "signal while working", "signal in the drain",
		"drained", "forced", "abandoned", "ended before the signal",
		"acked", "dead-lettered", "expired", "delivered again", "lease lost",
		"save failed", "restart failed", "restart failed permanently",
		"save panicked", "restart panicked", "handler panicked",
		"dead after five failures",
	} {
		assert.GreaterOrEqual(t, happened[event], 20, event)
	}
}

func serveOnce(t *testing.T, seed uint64, happened map[string]int) {
	draw := random(seed, "properties")
	upTo := func(d time.Duration) time.Duration {
		return time.Duration(draw.Int64N(int64(d)))
	}
	start, ignore := time.Now(), goleak.IgnoreCurrent()
	var out lines
	b := newBroker(slog.New(slog.DiscardHandler), 2*time.Second, 10)
	b.slow = map[string]time.Duration{
		"receive": upTo(100 * time.Millisecond),
		"ack":     upTo(400 * time.Millisecond),
		"nack":    upTo(400 * time.Millisecond),
	}
	if draw.IntN(4) == 0 {
		b.slow["extend"] = 3 * time.Second // it never arrives in time
	}
	n, pause, signal := 1+draw.IntN(20), upTo(time.Second), upTo(12*time.Second)
	hangs, deaf := draw.IntN(8) == 0, draw.IntN(6) == 0
	longest, hang := 1+upTo(4*time.Second), make(chan struct{})

	var mu sync.Mutex // guards the rest, and happened
	var lastBegin time.Duration
	failed, done := make(map[string]int), make(map[string]int)
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		happened[what]++
	}
	work := func(what string) workFunc {
		return func(ctx context.Context, msg Message) error {
			draw := random(seed, msg.ID, what, time.Since(start).String())
			takes := time.Duration(draw.Int64N(int64(longest)))
			fails := draw.IntN(10)
			never := what == "restart" && drawn(seed, msg.ID) == "never"
			poison := what == "restart" && drawn(seed, msg.ID) == "poison"
			if never || poison || fails <= 1 {
				mu.Lock()
				failed[msg.ID]++
				mu.Unlock()
			}
			switch {
			case never:
				note("restart failed permanently")
				return permanentError{errNoSuchHost}
			case fails == 0 || poison:
				note(what + " failed")
				return errRefused
			case fails == 1:
				note(what + " panicked")
				panic("on purpose")
			case hangs && draw.IntN(4) == 0:
				<-hang
				return errors.New("it hung")
			case deaf && draw.IntN(2) == 0:
				time.Sleep(takes)
			default:
				if err := sleep(ctx, takes); err != nil {
					return err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			done[what+" "+msg.ID]++
			return nil
		}
	}
	begins := func(work workFunc) workFunc {
		return func(ctx context.Context, msg Message) error {
			mu.Lock()
			lastBegin = max(lastBegin, time.Since(start))
			mu.Unlock()
			return work(ctx, msg)
		}
	}
	var once ledger
	m := &Mandrill{
		log:     slog.New(slog.NewTextHandler(&out, nil)),
		broker:  b,
		save:    begins(once.once("save", work("save"))),
		restart: begins(once.once("restart", work("restart"))),
		slots:   1 + draw.IntN(4),
		drain:   1 + upTo(3*time.Second),
		grace:   time.Second,
		timeout: 10 * time.Second,
		seed:    seed,
	}
	out.panics = draw.IntN(4) == 0
	ctx, stop := context.WithTimeoutCause(t.Context(), signal, errStopped)
	defer stop()
	var publisher sync.WaitGroup
	publisher.Go(func() {
		assert.NoError(t, publish(ctx, b, seed, n, pause))
	})
	err := m.Run(ctx)
	took := time.Since(start)
	publisher.Wait()

	abandoned, isAbandoned := errors.AsType[abandonedError](err)
	b.mu.Lock()
	record, held := slices.Clone(b.record), b.held
	b.mu.Unlock()
	mu.Lock()
	defer mu.Unlock()

	// Back within its budget, and nothing begun after the signal.
	assert.LessOrEqual(t, took, signal+b.slow["receive"]+m.drain+m.grace)
	assert.LessOrEqual(t, lastBegin, signal)

	// Every message accounted for, and none settled twice.
	books, last := make(map[string]int), make(map[string]string)
	late := 0
	open := make(map[string]time.Duration) // deliveries without an end
	back := make(map[string]time.Duration) // when a message was given back
	for _, e := range record {
		delivery := fmt.Sprintf("%s #%d", e.ID, e.Attempt)
		books[e.What]++
		happened[e.What]++
		switch e.What {
		case "delivered":
			if e.Attempt > 1 {
				happened["delivered again"]++
			}
			if e.At+b.slow["receive"] > signal {
				late++
			}
			open[delivery] = e.At
			if at, ok := back[e.ID]; ok { // not at once
				assert.GreaterOrEqual(t, e.At-at, 25*time.Millisecond)
				delete(back, e.ID)
			}
		case "acked", "dead-lettered":
			assert.Empty(t, last[e.ID], e.ID)
			last[e.ID] = e.What
			delete(open, delivery)
		case "nacked":
			back[e.ID] = e.At
			delete(open, delivery)
		case "expired":
			delete(open, delivery)
		case "ack refused", "nack refused", "dead-letter refused":
			delete(open, delivery) // somebody else has it, or had
		}
		// A dead letter has its reason, and an attempt is burnt by a failure
		// and by nothing else.
		if e.What == "dead-lettered" {
			switch why := e.Reason.Error(); {
			case strings.HasPrefix(why, "failed 5 times: "):
				assert.GreaterOrEqual(t, failed[e.ID], 5)
				happened["dead after five failures"]++
			default:
				assert.Contains(t, why, "no such host")
				assert.Equal(t, "never", drawn(seed, e.ID))
			}
		}
	}
	// Every delivery has come to an end that the broker knows of, unless we say
	// that we don't know, or somebody else has it.
	for delivery := range open {
		id, _, _ := strings.Cut(delivery, " ")
		assert.True(t, slices.Contains(abandoned, id) ||
			out.count(`msg="lease lost" id=`+id+" ") > 0 ||
			last[id] != "", delivery)
	}
	assert.Equal(t, books["published"],
		books["acked"]+books["dead-lettered"]+held)
	m.mu.Lock()
	for id, failures := range m.failures {
		assert.LessOrEqual(t, failures, failed[id], id)
	}
	m.mu.Unlock()
	// What is delivered often is done once; what is acked is done.
	for what, times := range done {
		assert.Equal(t, 1, times, what)
	}
	for id, what := range last {
		if what == "acked" {
			assert.Equal(t, 1, done["save "+id], id)
			assert.Equal(t, 1, done["restart "+id], id)
		}
	}
	// A host that can't be restarted was not.
	for id := range failed {
		if drawn(seed, id) != "" {
			assert.Zero(t, done["restart "+id], id)
			assert.NotEqual(t, "acked", last[id], id)
		}
	}
	happened["handler panicked"] += out.count("handler panicked")
	happened["lease lost"] += out.count(`msg="lease lost"`)

	// What happened?
	if took < signal {
		happened["ended before the signal"]++
	} else if isAbandoned {
		happened["abandoned"]++
	} else if err != nil {
		assert.Equal(t, forcedError{}, err)
		assert.GreaterOrEqual(t, took, signal+m.drain)
		happened["forced"]++
	} else {
		happened["drained"]++
	}
	if took >= signal && late > 0 {
		happened["signal while pulling"]++
	}
	if took >= signal && lastBegin > 0 && lastBegin < signal {
		happened["signal while working"]++
	}
	if took >= signal && books["published"] == n && late == 0 {
		happened["signal in the drain"]++
	}

	// No goroutine left but those of the messages that it names.
	mu.Unlock()
	left := 0
	for _, n := range leaked(ignore) {
		left += n
	}
	assert.LessOrEqual(t, left, 6*len(abandoned))
	close(hang)
	time.Sleep(time.Minute) // and then nobody: the bubble would panic
	mu.Lock()
}

// drawn says what is wrong with the host of a message, in one of six.
func drawn(seed uint64, id string) string {
	switch random(seed, id, "host").IntN(12) {
	case 0:
		return "never" // it does not exist
	case 1:
		return "poison" // it is refused every time
	}
	return ""
}

// lines is a log that counts, and that may panic in the hands of a handler.
type lines struct {
	mu     sync.Mutex
	text   strings.Builder
	panics bool
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if l.panics && strings.Contains(string(p), "msg=failed") {
		l.panics = false
		panic("the log is full")
	}
	return len(p), nil
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}
