package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

var onlySeed = flag.Int("property.seed", -1, "try this seed only")

// Whatever goes wrong, and whenever the signal comes, the service keeps its
// promises. Each seed draws a scenario, the service plays it, and the promises
// are checked against what the service and the broker have recorded. Scenarios
// in which nothing happens would keep every promise, so each event must have
// happened at least five times.
func TestProperties(t *testing.T) {
	const seeds = 500
	happened := make(map[string]int)
	for seed := range uint64(seeds) {
		if *onlySeed >= 0 && seed != uint64(*onlySeed) {
			continue
		}
		sc := draw(seed)
		inBubble(t, func(t *testing.T) {
			r := play(t, sc)
			for _, promise := range []func(*testing.T, scenario, *played){
				isBackInTime, beginsNothingAfterTheSignal, settlesOnce,
				losesNothing, agreesWithTheBroker, boundsDeliveries,
				pausesAfterAFailure, hasItsReasons, doesNothingTwice,
				acksWhatIsDone, saysWhatFailed, tellsByItsStatus,
				leavesNothingUnnamed,
			} {
				promise(t, sc, r)
			}
			r.end()
			whatHappened(sc, r, happened)
			if t.Failed() { // synctest.Test ends here then
				t.Logf("%+v\nrepeat it with: go test "+
					"-run TestProperties -property.seed %d", sc, seed)
			}
		})
	}
	t.Log(happened)
	if *onlySeed >= 0 {
		return
	}
	for _, event := range []string{
		"signal while working", "signal in the drain", "drained", "forced",
		"abandoned", "ended before the signal", "given up", "all hang",
		"published", "delivered", "delivered again", "expired", "extended",
		"acked", "nacked", "dead-lettered", "another replica has it",
		"receive failed", "receive failed, and did",
		"extend failed", "extend failed, and did",
		"ack failed", "ack failed, and did",
		"nack failed", "nack failed, and did",
		"dead-letter failed", "dead-letter failed, and did",
		"save failed", "save panicked", "save never ended", "save ended late",
		"restart failed", "restart panicked", "restart never ended",
		"restart ended late", "restart said so in its own words",
		"dead after failures", "dead at once", "delivered too often",
		"lease lost", "settled already", "settled too late", "not settled",
		"let go",
		"given back", "replica fell silent",
	} {
		assert.GreaterOrEqual(t, happened[event], 5, event)
	}
}

// A scenario is what a seed draws.
type scenario struct {
	seed          uint64
	n             int           // messages
	pause         time.Duration // between two, at most
	signal        time.Duration
	slots         int
	drain         time.Duration
	longest       time.Duration // that a piece of work takes
	timeout       time.Duration
	maxFailures   int
	maxDeliveries int
	giveUp        time.Duration
	slow          map[string]time.Duration
	fails         int  // calls to the broker, of a hundred
	noExtend      bool // no extension is allowed
	hangs         bool // some work hangs
	deaf          bool // some work ignores its context
	outage        time.Duration
	replicas      int
	silent        time.Duration // when the second replica falls silent
}

// draw returns the scenario of a seed.
func draw(seed uint64) scenario {
	draw := random(seed, "scenario")
	upTo := func(d time.Duration) time.Duration {
		return 1 + time.Duration(draw.Int64N(int64(d)))
	}
	oneIn := func(n int) bool { return draw.IntN(n) == 0 }
	sc := scenario{
		seed:        seed,
		n:           1 + draw.IntN(20),
		pause:       upTo(time.Second),
		signal:      upTo(12 * time.Second),
		slots:       1 + draw.IntN(4),
		drain:       upTo(3 * time.Second),
		longest:     upTo(4 * time.Second),
		timeout:     10 * time.Second,
		maxFailures: 2 + draw.IntN(4), maxDeliveries: 3 + draw.IntN(8),
		giveUp: time.Minute,
		slow: map[string]time.Duration{
			"receive": upTo(100 * time.Millisecond),
			"extend":  upTo(100 * time.Millisecond),
			"ack":     upTo(400 * time.Millisecond),
			"nack":    upTo(400 * time.Millisecond),
		},
		noExtend: oneIn(6),
		hangs:    oneIn(8),
		deaf:     oneIn(6),
		replicas: 1,
	}
	if oneIn(2) {
		sc.fails = 5 + draw.IntN(30)
	}
	if oneIn(8) { // the lease's limit comes into reach
		sc.timeout = upTo(3 * time.Second)
		sc.signal = upTo(4 * time.Minute)
	}
	if sc.hangs && oneIn(2) { // until every slot is lost
		sc.signal = upTo(4 * time.Minute)
	}
	if oneIn(8) {
		sc.outage, sc.giveUp = upTo(12*time.Second), 3*time.Second
	}
	if oneIn(4) {
		sc.replicas, sc.silent = 2, upTo(10*time.Second)
	}
	return sc
}

// A played scenario is what became of it.
type played struct {
	broker *broker
	took   time.Duration // Run, of the first replica
	err    error         // that it returned
	log    *lines        // of the first replica, until then
	left   map[string]int
	end    func() // releases what hangs, and waits for it

	mu        sync.Mutex
	lastBegin time.Duration // of the first replica
	fails     map[string]int
	done      map[string]int
	events    []event
	states    [5]int
	happened  map[string]int
}

// note counts something that has happened.
func (r *played) note(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.happened[what]++
}

func (r *played) noted(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.happened[what]
}

// play plays a scenario.
func play(t *testing.T, sc scenario) *played {
	start, ignore := time.Now(), goleak.IgnoreCurrent()
	b := quietBroker(2*time.Second, 10)
	r := &played{
		broker: b, fails: make(map[string]int), done: make(map[string]int),
		happened: make(map[string]int),
	}
	b.slow = sc.slow
	var calls int // guarded by r.mu
	b.fail = func(verb, id string) (bool, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		calls++
		draw := random(sc.seed, verb, id, fmt.Sprint(calls))
		out := sc.outage > 0 && time.Since(start) > sc.outage
		if !out && draw.IntN(100) >= sc.fails &&
			(verb != "extend" || !sc.noExtend) {
			return false, nil
		}
		did := !out && draw.IntN(2) == 0 && (verb != "extend" || !sc.noExtend)
		what := verb + " failed"
		if did {
			what += ", and did"
		}
		r.happened[what]++
		return did, errUnreachable
	}
	hang := make(chan struct{})
	work := func(what string, first bool) workFunc {
		return func(ctx context.Context, msg Message) error {
			r.mu.Lock()
			if first {
				r.lastBegin = max(r.lastBegin, time.Since(start))
			}
			r.mu.Unlock()
			defer func() {
				if first && errors.Is(context.Cause(ctx), errDrainDeadline) {
					r.note("cut short by the drain")
				}
			}()
			draw := random(sc.seed, msg.ID, what, time.Since(start).String())
			takes := time.Duration(draw.Int64N(int64(sc.longest)))
			never := what == "restart" && drawn(sc.seed, msg.ID) == "never"
			poison := what == "restart" && drawn(sc.seed, msg.ID) == "poison"
			fails := draw.IntN(10)
			if never || poison || fails <= 1 {
				r.mu.Lock()
				r.fails[msg.ID]++
				r.mu.Unlock()
			}
			switch {
			case never:
				return permanentError{errNoSuchHost}
			case fails == 0 || poison:
				r.note(what + " failed")
				return errRefused
			case fails == 1:
				r.note(what + " panicked")
				panic("on purpose")
			case sc.hangs && draw.IntN(4) == 0:
				r.note(what + " never ended")
				<-hang
				return errors.New("it hung")
			case sc.deaf && draw.IntN(2) == 0:
				time.Sleep(takes)
				if ctx.Err() != nil {
					r.note(what + " ended late")
				}
			default:
				if err := sleep(ctx, takes); err != nil {
					if draw.IntN(2) == 0 {
						return err
					}
					r.note(what + " said so in its own words")
					return errors.New("rpc error: code = Canceled")
				}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.done[what+" "+msg.ID]++
			return nil
		}
	}
	db := &memoryDatabase{}
	service := func(q queue, first bool) *Mandrill {
		l := &ledger{db: db}
		return newMandrill(b, func(m *Mandrill) {
			m.queue = q
			m.save = l.once("save", work("save", first))
			m.restart = l.once("restart", work("restart", first))
			m.slots, m.drain, m.seed = sc.slots, sc.drain, sc.seed
			m.timeout, m.maxFailures = sc.timeout, sc.maxFailures
			m.maxDeliveries = sc.maxDeliveries
			m.pause, m.giveUp = 50*time.Millisecond, sc.giveUp
		})
	}
	ctx, stop := context.WithTimeoutCause(t.Context(), sc.signal, errStopped)
	var others sync.WaitGroup
	others.Go(func() {
		assert.NoError(t, publish(ctx, b, sc.seed, sc.n, sc.pause))
	})
	if sc.replicas == 2 {
		second := &replica{queue: b}
		time.AfterFunc(sc.silent, func() { second.silent.Store(true) })
		others.Go(func() { service(second, false).Run(ctx) })
	}
	m := service(b, true)
	log := logTo(m)
	r.err = m.Run(ctx)
	r.took = time.Since(start)
	b.mu.Lock() // one instant for everything that is recorded
	r.states, r.events = b.is, b.events()
	r.log = log.copy()
	b.mu.Unlock()
	stop()
	others.Wait()
	r.left = leaked(t, ignore)
	r.end = func() {
		close(hang)
		time.Sleep(5 * time.Minute) // and then nothing: or the bubble panics
	}
	return r
}

// names returns the messages that Run has named as abandoned.
func (r *played) names() []string {
	if e, ok := errors.AsType[*abandonedError](r.err); ok {
		return e.ids
	}
	return nil
}

// count returns how many events of that kind there were.
func (r *played) count(what string) (n int) {
	for _, e := range r.events {
		if e.What == what {
			n++
		}
	}
	return n
}

// Run is back when the drain and the grace are over, or when the poll that was
// in progress is.
func isBackInTime(t *testing.T, sc scenario, r *played) {
	poll := 400*time.Millisecond + sc.slow["receive"]
	budget := max(sc.drain+time.Second, poll)
	switch {
	case errors.Is(r.err, errUnreachable), errors.Is(r.err, errAllHang):
		budget += max(sc.giveUp, time.Minute) + 10*time.Second
		assert.LessOrEqual(t, r.took, sc.signal+budget, "took")
	default:
		assert.LessOrEqual(t, r.took, sc.signal+budget, "took")
	}
}

func beginsNothingAfterTheSignal(t *testing.T, sc scenario, r *played) {
	r.mu.Lock()
	defer r.mu.Unlock()
	assert.LessOrEqual(t, r.lastBegin, sc.signal, "last begin")
}

// No message is settled twice, and none is delivered when it is settled.
func settlesOnce(t *testing.T, _ scenario, r *played) {
	settled := make(map[string]string)
	for _, e := range r.events {
		switch e.What {
		case "acked", "dead-lettered":
			assert.Empty(t, settled[e.ID], e.ID)
			settled[e.ID] = e.What
		case "delivered":
			assert.Empty(t, settled[e.ID], e.ID)
		}
	}
}

// What was published is settled, or the broker has it still, and everything
// that has a lease is named, unless another consumer has it, or let go of it.
func losesNothing(t *testing.T, sc scenario, r *played) {
	assert.Equal(t, r.count("published"), r.states[acked]+
		r.states[deadLettered]+r.states[waiting]+r.states[leased]+
		r.states[undelivered], "published")
	last := make(map[string]event) // of each message, by delivery
	for _, e := range r.events {
		if e.What != "extended" && e.Attempt > 0 {
			last[e.ID] = e
		}
	}
	for id, e := range last {
		if e.What != "delivered" || slices.Contains(r.names(), id) {
			continue // settled, given back, refused or expired; or named
		}
		assert.True(t, sc.replicas == 2 || r.letGo(e) ||
			r.noted("receive failed, and did") > 0, "%v is not named", e)
	}
}

// letGo reports whether the service has said that it has lost a lease.
func (r *played) letGo(e event) bool {
	return r.log.count(fmt.Sprintf(`msg="lease lost" id=%s attempt=%d`,
		e.ID, e.Attempt))+r.log.count(fmt.Sprintf(
		`msg="let go" id=%s attempt=%d`, e.ID, e.Attempt)) > 0
}

var settledLine = regexp.MustCompile(
	`msg=settled id=(\S+) attempt=(\d+) how="?([a-z ]+)"?`)

// What the service says that it settled, the broker has settled. What the
// broker has settled, the service has said, or it has said that it does not
// know.
func agreesWithTheBroker(t *testing.T, sc scenario, r *played) {
	verbs := map[string]string{"ack": "acked", "dead letter": "dead-lettered",
		"retry": "nacked", "give back": "nacked"}
	said := make(map[string]int)
	text := r.log.text.String()
	for _, m := range settledLine.FindAllStringSubmatch(text, -1) {
		said[verbs[strings.TrimSpace(m[3])]+" "+m[1]+" #"+m[2]]++
	}
	did := make(map[string]int)
	for _, e := range r.events {
		did[fmt.Sprintf("%s %s #%d", e.What, e.ID, e.Attempt)]++
	}
	for what, n := range said {
		assert.Equal(t, n, did[what], "the service says that it %s", what)
	}
	if sc.replicas == 2 {
		return
	}
	for what, n := range did {
		verb, delivery, _ := strings.Cut(what, " ")
		if verb != "acked" && verb != "dead-lettered" && verb != "nacked" {
			continue
		}
		id, attempt, _ := strings.Cut(delivery, " #")
		doubts := strings.Count(text,
			fmt.Sprintf(`msg="not settled" id=%s attempt=%s`, id, attempt))
		assert.True(t, said[what] == n || doubts > 0 ||
			slices.Contains(r.names(), id), "the broker has %s", what)
	}
}

// No message is delivered for ever. (A dead letter may fail, and the message is
// delivered again for that, and a delivery may be lost on its way to us.)
func boundsDeliveries(t *testing.T, sc scenario, r *played) {
	failed, lost := make(map[string]int), r.noted("receive failed, and did")
	for _, e := range r.events {
		switch e.What {
		case "dead-letter refused":
			failed[e.ID]++
		case "delivered":
			assert.LessOrEqual(t, e.Attempt,
				sc.maxDeliveries+1+failed[e.ID]+sc.replicas+lost, e.ID)
		}
	}
}

// What has failed is not delivered again at once. (What the drain cuts short
// is.)
func pausesAfterAFailure(t *testing.T, sc scenario, r *played) {
	if sc.replicas == 2 {
		return
	}
	back := make(map[string]time.Duration)
	for _, e := range r.events {
		switch e.What {
		case "nacked":
			if e.At < sc.signal+sc.drain {
				back[e.ID] = e.At
			}
		case "delivered":
			if at, ok := back[e.ID]; ok {
				assert.GreaterOrEqual(t, e.At-at, 25*time.Millisecond, e.ID)
			}
			delete(back, e.ID)
		}
	}
}

// A dead letter has a reason, and it is true.
func hasItsReasons(t *testing.T, sc scenario, r *played) {
	for _, e := range r.events {
		if e.What != "dead-lettered" {
			continue
		}
		why := e.Reason.Error()
		switch n := 0; {
		case why == errTooOften.Error():
			assert.Greater(t, e.Attempt, sc.maxDeliveries, e.ID)
			r.note("delivered too often")
		case strings.HasPrefix(why, "failed "):
			fmt.Sscanf(why, "failed %d times", &n)
			assert.GreaterOrEqual(t, n, sc.maxFailures, e.ID)
			r.note("dead after failures")
		default:
			assert.Contains(t, why, "no such host", e.ID)
			assert.Equal(t, "never", drawn(sc.seed, e.ID), e.ID)
			r.note("dead at once")
		}
	}
}

// What is known to be done is not done again.
func doesNothingTwice(t *testing.T, sc scenario, r *played) {
	if sc.replicas == 2 {
		return // two ledgers, and one database: at least once
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for what, times := range r.done {
		assert.Equal(t, 1, times, what)
	}
}

// What is acked is done, and a host that can't be restarted is not.
func acksWhatIsDone(t *testing.T, sc scenario, r *played) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.What == "acked" {
			assert.Positive(t, r.done["save "+e.ID], e.ID)
			assert.Positive(t, r.done["restart "+e.ID], e.ID)
			assert.Empty(t, drawn(sc.seed, e.ID), e.ID)
		}
	}
}

// Each call to the broker that failed has its line.
func saysWhatFailed(t *testing.T, sc scenario, r *played) {
	if sc.replicas == 2 || len(r.names()) > 0 {
		return // another one's calls; or some are still on their way
	}
	for verb, line := range map[string]string{
		"receive": `msg="receive failed"`,
		"ack":     `msg="not settled" `,
	} {
		n := r.noted(verb+" failed") + r.noted(verb+" failed, and did")
		if n > 1 { // the last one may have been the last word
			assert.GreaterOrEqual(t, r.log.count(line), 1, verb)
		}
	}
}

// The status: 1 if something failed or is abandoned, 3 if work was cancelled.
func tellsByItsStatus(t *testing.T, sc scenario, r *played) {
	cut := r.noted("cut short by the drain")
	switch status(r.err) {
	case 0:
		assert.Zero(t, cut, "work that was cancelled")
	case 1:
		assert.True(t, len(r.names()) > 0 || errors.Is(r.err, errAllHang) ||
			errors.Is(r.err, errUnreachable), "%v", r.err)
	case 3:
		assert.Positive(t, cut, "work that was cancelled")
		assert.Empty(t, r.names(), "names")
	default:
		assert.Fail(t, "status", "%v", r.err)
	}
}

// No goroutine is left but those of the messages that it names.
func leavesNothingUnnamed(t *testing.T, sc scenario, r *played) {
	if sc.replicas == 2 {
		return
	}
	left := 0
	for _, n := range r.left {
		left += n
	}
	if len(r.names()) == 0 {
		assert.Zero(t, left, "%v", r.left)
	}
}

// whatHappened adds up the events of a run.
func whatHappened(sc scenario, r *played, happened map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for what, n := range r.happened {
		happened[what] += n
	}
	had := make(map[string]bool)
	for _, e := range r.events {
		happened[e.What]++
		if e.What == "delivered" && e.Attempt > 1 {
			happened["delivered again"]++
		}
		if e.Reason != nil && e.Reason.Error() == errSettled.Error() {
			had[e.ID] = true
		}
	}
	happened["another replica has it"] += len(had)
	for what, line := range map[string]string{
		"lease lost": `msg="lease lost"`, "let go": `msg="let go"`,
		"settled already":  `msg="settled already"`,
		"settled too late": `msg="settled too late"`,
		"not settled":      `msg="not settled"`,
		"given back":       `how="give back"`,
	} {
		happened[what] += r.log.count(line)
	}
	switch {
	case errors.Is(r.err, errAllHang):
		happened["all hang"]++
	case errors.Is(r.err, errUnreachable):
		happened["given up"]++
	case r.took < sc.signal:
		happened["ended before the signal"]++
	case len(r.names()) > 0:
		happened["abandoned"]++
	case r.err != nil:
		happened["forced"]++
	default:
		happened["drained"]++
	}
	if r.took >= sc.signal && r.lastBegin > 0 && r.lastBegin < sc.signal {
		happened["signal while working"]++
		if r.states[undelivered] == 0 {
			happened["signal in the drain"]++
		}
	}
	if sc.replicas == 2 && sc.silent < sc.signal {
		happened["replica fell silent"]++
	}
}

// drawn says what is wrong with the host of a message, in one of six.
func drawn(seed uint64, id string) string {
	switch random(seed, id, "host").IntN(12) {
	case 0:
		return "never" // it does not exist
	case 1:
		return "poison" // it refuses every time
	}
	return ""
}
