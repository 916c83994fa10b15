package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

var onlySeed = flag.Int("property.seed", -1, "try this seed only")

// Whenever the signal comes, the service keeps its promises. Each seed draws a
// scenario, the service plays it, and the promises are checked against what the
// service and the broker have recorded. So that the promises are not kept by
// scenarios in which nothing happens, each event must have happened at least
// twenty times.
func TestProperties(t *testing.T) {
	const seeds = 1000
	happened := make(map[string]int)
	for seed := range uint64(seeds) {
		if *onlySeed >= 0 && seed != uint64(*onlySeed) {
			continue
		}
		sc := draw(seed)
		inBubble(t, func(t *testing.T) {
			p := play(t, sc)
			for _, promise := range []func(*testing.T, scenario, *played){
				isBackInTime, beginsNothingAfterTheSignal, settlesOnce,
				losesNothing, agreesWithTheBroker, tellsByItsStatus,
				leavesNothingUnnamed,
			} {
				promise(t, sc, p)
			}
			p.end()
			whatHappened(sc, p, happened)
			if t.Failed() { // synctest.Test ends here then
				t.Logf("%+v\nrepeat it with: go test ./part2-shutdown "+
					"-run TestProperties -property.seed %d", sc, seed)
			}
		})
	}
	t.Log(happened)
	if *onlySeed >= 0 {
		return
	}
	for _, event := range []string{
		"signal while working", "signal while settling",
		"signal in the drain", "drained", "forced", "abandoned",
		"receive failed", "given back unbegun", "given back", "acked",
		"not settled", "answer lost", "expired",
	} {
		assert.GreaterOrEqual(t, happened[event], 20, event)
	}
}

// A scenario is what a seed draws.
type scenario struct {
	seed    uint64
	n       int           // messages
	pause   time.Duration // between two, at most
	signal  time.Duration
	slots   int
	drain   time.Duration
	longest time.Duration // that a piece of work takes
	lease   time.Duration
	slow    map[string]time.Duration
	fails   int  // settlements, of a hundred
	broken  bool // Receive fails, from half of the time to the signal on
	hangs   bool // some work hangs
	deaf    bool // some work ignores its context
}

// draw returns the scenario of a seed.
func draw(seed uint64) scenario {
	draw := random(seed, "scenario")
	upTo := func(d time.Duration) time.Duration {
		return 1 + time.Duration(draw.Int64N(int64(d)))
	}
	sc := scenario{
		seed:    seed,
		n:       1 + draw.IntN(20),
		pause:   upTo(time.Second),
		signal:  upTo(8 * time.Second),
		slots:   1 + draw.IntN(4),
		drain:   upTo(3 * time.Second),
		longest: upTo(4 * time.Second),
		lease:   time.Minute,
		slow: map[string]time.Duration{
			"receive": upTo(100 * time.Millisecond),
			"ack":     upTo(600 * time.Millisecond), // 500ms are too long
			"nack":    upTo(600 * time.Millisecond),
		},
		hangs: draw.IntN(8) == 0,
		deaf:  draw.IntN(3) == 0,
	}
	if draw.IntN(3) == 0 {
		sc.lease = 2 * time.Second // so that it may be lost
	}
	if draw.IntN(3) == 0 {
		sc.fails = draw.IntN(40)
	}
	sc.broken = draw.IntN(10) == 0
	return sc
}

// A played scenario is what became of it.
type played struct {
	took      time.Duration // Run
	err       error         // that it returned
	log       *lines        // until then
	events    []event       // likewise
	states    [5]int        // likewise
	lastBegin time.Duration
	lost      int            // answers of the broker
	cut       int            // pieces of work that ended after their context
	left      map[string]int // goroutines
	end       func()         // releases what hangs, and waits for it
}

// play plays a scenario.
func play(t *testing.T, sc scenario) *played {
	start, ignore := time.Now(), goleak.IgnoreCurrent()
	b, p := quietBroker(sc.lease, 10), &played{}
	b.slow = sc.slow
	var mu sync.Mutex // guards calls, lost, cut and lastBegin
	calls, lost, cut, lastBegin := 0, 0, 0, time.Duration(0)
	hang := make(chan struct{})
	b.fail = func(verb, id string) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		calls++
		draw := random(sc.seed, verb, id, fmt.Sprint(calls))
		switch {
		case verb == "receive":
			if sc.broken && time.Since(start) > sc.signal/2 {
				return false, errUnreachable
			}
			return false, nil
		case draw.IntN(100) >= sc.fails:
			return false, nil
		}
		did := draw.IntN(2) == 0
		if did {
			lost++
		}
		return did, errUnreachable
	}
	work := func(what string) workFunc {
		return func(ctx context.Context, msg Message) error {
			mu.Lock()
			lastBegin = max(lastBegin, time.Since(start))
			mu.Unlock()
			defer func() {
				if ctx.Err() != nil {
					mu.Lock()
					defer mu.Unlock()
					cut++
				}
			}()
			draw := random(sc.seed, msg.ID, what)
			takes := time.Duration(draw.Int64N(int64(sc.longest)))
			switch {
			case sc.hangs && draw.IntN(4) == 0:
				<-hang
				return errors.New("it hung")
			case sc.deaf && draw.IntN(2) == 0:
				time.Sleep(takes)
				return nil
			}
			return sleep(ctx, takes)
		}
	}
	m := newMandrill(b, func(m *Mandrill) {
		m.save, m.restart = work("save"), work("restart")
		m.slots, m.drain = sc.slots, sc.drain
	})
	log := logTo(m)
	ctx, stop := context.WithTimeoutCause(t.Context(), sc.signal, errStopped)
	defer stop()
	var publisher sync.WaitGroup
	publisher.Go(func() {
		assert.NoError(t, publish(ctx, b, sc.seed, sc.n, sc.pause))
	})
	p.err = m.Run(ctx)
	p.took = time.Since(start)
	b.mu.Lock() // one instant for everything that is recorded
	p.states, p.events, p.log = b.is, b.events(), log.copy()
	b.mu.Unlock()
	mu.Lock()
	p.lost, p.cut, p.lastBegin = lost, cut, lastBegin
	mu.Unlock()
	stop()
	publisher.Wait()
	p.left = leaked(t, ignore)
	p.end = func() {
		close(hang)
		time.Sleep(5 * time.Minute) // and then nothing: or the bubble panics
	}
	return p
}

// names returns the messages that Run has named as abandoned.
func (p *played) names() []string {
	if e, ok := errors.AsType[*abandonedError](p.err); ok {
		return e.ids
	}
	return nil
}

// count returns how many events of that kind there were.
func (p *played) count(what string) (n int) {
	for _, e := range p.events {
		if e.What == what {
			n++
		}
	}
	return n
}

// said returns how many lines the service has about a delivery.
func (p *played) said(msg string, e event) int {
	return p.log.count(fmt.Sprintf("%s id=%s attempt=%d ",
		msg, e.ID, e.Attempt))
}

// Run is back when the drain and the grace are over, or when the poll that was
// in progress is.
func isBackInTime(t *testing.T, sc scenario, p *played) {
	poll := min(time.Second, sc.lease/5) + sc.slow["receive"]
	assert.LessOrEqual(t, p.took,
		sc.signal+max(sc.drain+time.Second, poll), "took")
}

func beginsNothingAfterTheSignal(t *testing.T, sc scenario, p *played) {
	assert.LessOrEqual(t, p.lastBegin, sc.signal, "last begin")
}

// No message is acked twice, and none is delivered when it is.
func settlesOnce(t *testing.T, _ scenario, p *played) {
	acked := make(map[string]bool)
	for _, e := range p.events {
		if e.What == "acked" || e.What == "delivered" {
			assert.False(t, acked[e.ID], "%v", e)
			acked[e.ID] = e.What == "acked"
		}
	}
}

// What was published is acked, or the broker has it still. What has a lease is
// named.
func losesNothing(t *testing.T, sc scenario, p *played) {
	assert.Equal(t, p.count("published"), p.states[acked]+p.states[waiting]+
		p.states[leased]+p.states[undelivered], "published")
	last := make(map[string]event) // of each message
	for _, e := range p.events {
		if e.What != "extended" && e.Attempt > 0 {
			last[e.ID] = e
		}
	}
	for id, e := range last {
		if e.What == "delivered" {
			assert.Contains(t, p.names(), id, "%v", e)
		}
	}
}

// What the service says that it settled, the broker has settled, and the other
// way round, unless the service has said that it does not know.
func agreesWithTheBroker(t *testing.T, _ scenario, p *played) {
	acks, nacks := 0, 0
	for _, e := range p.events {
		if e.What != "acked" && e.What != "nacked" {
			continue
		}
		said := p.said("msg=settled", e)
		if e.What == "acked" {
			acks += said
		} else {
			nacks += said
		}
		assert.True(t, said == 1 || p.said(`msg="not settled"`, e) == 1 ||
			slices.Contains(p.names(), e.ID), "%v, %d lines", e, said)
	}
	assert.Equal(t, acks+nacks, p.log.count("msg=settled "), "settled")
}

// The status: 1 if something failed or is abandoned, 3 if work was cancelled.
func tellsByItsStatus(t *testing.T, sc scenario, p *played) {
	switch status(p.err) {
	case 0:
		assert.Zero(t, p.cut, "work that was cancelled")
	case 1:
		assert.True(t, len(p.names()) > 0 ||
			sc.broken && errors.Is(p.err, errUnreachable), "%v", p.err)
	case 3:
		assert.Positive(t, p.cut, "work that was cancelled")
		assert.Empty(t, p.names(), "names")
	default:
		assert.Fail(t, "status", "%v", p.err)
	}
}

// No goroutine is left but those of the messages that it names.
func leavesNothingUnnamed(t *testing.T, sc scenario, p *played) {
	if len(p.names()) == 0 {
		assert.Empty(t, p.left, "goroutines left")
	}
}

// whatHappened adds up the events of a run.
func whatHappened(sc scenario, p *played, happened map[string]int) {
	for _, e := range p.events {
		happened[e.What]++
		if e.What == "acked" && e.At-sc.slow["ack"] < sc.signal &&
			sc.signal < e.At {
			happened["signal while settling"]++
		}
	}
	for what, line := range map[string]string{
		"not settled": `msg="not settled"`,
		"given back":  `how="give back"`,
	} {
		happened[what] += p.log.count(line)
	}
	happened["answer lost"] += p.lost
	switch {
	case errors.Is(p.err, errUnreachable):
		happened["receive failed"]++
	case p.took < sc.signal:
		happened["ended before the signal"]++
	case len(p.names()) > 0:
		happened["abandoned"]++
	case p.err != nil:
		happened["forced"]++
	default:
		happened["drained"]++
	}
	if p.took < sc.signal {
		return
	}
	for _, e := range p.events {
		if e.What == "delivered" && e.At+sc.slow["receive"] > sc.signal &&
			!strings.Contains(p.log.text.String(), "how=ack id="+e.ID) {
			happened["given back unbegun"]++
		}
	}
	if p.lastBegin > 0 && p.lastBegin < sc.signal {
		happened["signal while working"]++
		if p.states[undelivered] == 0 && p.count("published") == sc.n {
			happened["signal in the drain"]++
		}
	}
}
