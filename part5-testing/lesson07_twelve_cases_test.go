package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A tracker knows which messages are in flight or in doubt, as the service's
// inFlight does. When the service is stopped, it names them as abandoned.
type tracker interface {
	begin(d *Delivery)
	end(d *Delivery, err error, lease time.Duration)
	ids() []string
}

// A forgetsDoubts is the bug. When one delivery ends, it also clears the doubt
// about another delivery of the same message.
type forgetsDoubts struct{ inFlight }

// end implements tracker.
func (f *forgetsDoubts) end(d *Delivery, err error, lease time.Duration) {
	f.inFlight.end(d, err, lease)
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.open, f.doubts[d.ID])
		delete(f.doubts, d.ID)
	}
}

// newTracker returns the service's, or the one with the bug.
func newTracker(t *testing.T) tracker {
	if hasBug(t, "forgetsDoubts") {
		return &forgetsDoubts{}
	}
	return &inFlight{}
}

// A shutdown is a scenario: a consumer works until it is stopped. A delivery is
// named "m1 #2".
type shutdown struct {
	pauses []time.Duration          // one after each message is published
	slots  int                      // messages in progress at a time
	takes  map[string]time.Duration // the work of a delivery
	lost   map[string]bool          // its ack never arrives
	signal time.Duration
	drain  time.Duration
}

// String returns the scenario in lines.
func (sc shutdown) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d slots, the signal at %v, and a drain of %v\n",
		sc.slots, sc.signal, sc.drain)
	for _, name := range slices.Sorted(maps.Keys(sc.takes)) {
		fmt.Fprintf(&s, "%s takes %v", name, sc.takes[name])
		if sc.lost[name] {
			s.WriteString(", and its ack is lost")
		}
		s.WriteString("\n")
	}
	return s.String()
}

// A report is what the consumer and the broker know at the end of the drain.
type report struct {
	begun, ended, working int // deliveries, as the consumer counts them
	abandoned             []string
	leased                []string // messages that the broker has lent
	happened              map[string]int
}

// shutdownLease is the lease in these scenarios.
const shutdownLease = time.Second

// playShutdown plays a scenario in virtual time. Its consumer begins, works,
// acks and ends as the service does.
func playShutdown(t *testing.T, sc shutdown) (r report) {
	t.Helper()
	inBubble(t, func(t *testing.T) {
		b := quietBroker(shutdownLease, len(sc.pauses))
		c := &trackedConsumer{tracker: newTracker(t), sc: sc}
		c.happened = make(map[string]int)
		signal := time.Now().Add(sc.signal)
		var workers sync.WaitGroup
		for range sc.slots {
			workers.Go(func() { c.work(b, signal) })
		}
		for i, pause := range sc.pauses {
			assert.NoError(t, b.Publish(t.Context(), newMessage(1, i+1)))
			time.Sleep(pause)
		}
		time.Sleep(time.Until(signal.Add(sc.drain)))
		c.mu.Lock()
		r = c.report
		c.mu.Unlock()
		r.abandoned, r.leased = c.ids(), leasedMessages(b)
		workers.Wait()
	})
	return r
}

// A trackedConsumer is a small consumer, with the parts of the service that a
// shutdown uses.
type trackedConsumer struct {
	tracker
	sc shutdown
	mu sync.Mutex
	report
}

// note changes the report.
func (c *trackedConsumer) note(change func(r *report)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.report)
}

// work handles messages until the signal.
func (c *trackedConsumer) work(b *broker, signal time.Time) {
	for time.Now().Before(signal) {
		d, err := b.Receive(context.Background(), time.Until(signal))
		if err != nil {
			return
		}
		c.note(func(r *report) { r.begun++; r.working++ })
		c.begin(d)
		c.end(d, c.handle(d, time.Now()), shutdownLease)
		c.note(func(r *report) { r.ended++; r.working-- })
	}
}

// handle works, and acks. It returns an error if it isn't known whether the
// broker got the ack. If the lease has ended before the work, it lets go.
func (c *trackedConsumer) handle(d *Delivery, received time.Time) error {
	name := fmt.Sprintf("%s #%d", d.ID, d.Attempt)
	time.Sleep(c.sc.takes[name])
	if d.Attempt > 1 {
		c.note(func(r *report) { r.happened["delivered again"]++ })
	}
	if time.Since(received) >= shutdownLease {
		c.note(func(r *report) { r.happened["let go"]++ })
		return nil
	}
	if c.sc.lost[name] {
		c.note(func(r *report) { r.happened["in doubt"]++ })
		return errNoAnswer
	}
	return d.Ack(context.Background())
}

// leasedMessages returns the messages that are lent, by the broker's record.
func leasedMessages(b *broker) (ids []string) {
	last := make(map[string]string)
	for _, e := range b.events() {
		switch e.What {
		case "delivered", "expired", "acked":
			last[e.ID] = e.What
		}
	}
	for id, what := range last {
		if what == "delivered" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// drawShutdown draws a scenario from a seed.
func drawShutdown(seed uint64) shutdown {
	draw := random(seed, "shutdown")
	upTo := func(d time.Duration) time.Duration {
		return 1 + time.Duration(draw.Int64N(int64(d)))
	}
	sc := shutdown{
		pauses: make([]time.Duration, 1+draw.IntN(4)),
		slots:  1 + draw.IntN(4),
		takes:  make(map[string]time.Duration),
		lost:   make(map[string]bool),
		signal: upTo(4 * time.Second),
		drain:  upTo(time.Second),
	}
	for i := range sc.pauses {
		sc.pauses[i] = upTo(50 * time.Millisecond)
		for attempt := range 4 {
			name := fmt.Sprintf("m%d #%d", i+1, attempt+1)
			sc.takes[name] = upTo(200 * time.Millisecond)
			if draw.IntN(3) == 0 {
				sc.takes[name] = upTo(2 * shutdownLease)
			}
			sc.lost[name] = draw.IntN(3) == 0
		}
	}
	return sc
}

// forAThousandSeeds plays a scenario for each seed, and checks a law. It
// returns how often each event has happened. With -seed it plays only that one.
func forAThousandSeeds(
	t *testing.T, draw func(uint64) shutdown, law func(report) error,
) map[string]int {
	t.Helper()
	happened := make(map[string]int)
	from, n := uint64(1), 1000
	if *seedFlag > 0 {
		from, n = *seedFlag, 1
	}
	red := 0
	for i := range n {
		seed := from + uint64(i)
		sc := draw(seed)
		r := playShutdown(t, sc)
		if n == 1 {
			t.Log(sc)
		}
		for event, times := range r.happened {
			happened[event] += times
		}
		if err := law(r); err != nil {
			if red++; red == 1 {
				t.Errorf("-seed %d: %v", seed, err)
			}
		}
	}
	t.Logf("red for %d of %d seeds", red, n)
	return happened
}

// namesWhatIsLeased is the law: the consumer must name every message that the
// broker has lent.
func namesWhatIsLeased(r report) error {
	for _, id := range r.leased {
		if !slices.Contains(r.abandoned, id) {
			return fmt.Errorf("%s is leased, and not named", id)
		}
	}
	return nil
}

// countsAddUp is a law about the consumer's counts.
func countsAddUp(r report) error {
	if r.begun != r.ended+r.working {
		return fmt.Errorf("begun %d, ended %d, working %d",
			r.begun, r.ended, r.working)
	}
	return nil
}

// TestMistake07OneSide plays any scenario. Its law is about the counts of one
// side.
func TestMistake07OneSide(t *testing.T) {
	forAThousandSeeds(t, drawShutdown, countsAddUp)
}

// TestMistake07TooEarly has the right law. It stops its scenarios early, so
// that no message is delivered twice.
func TestMistake07TooEarly(t *testing.T) {
	forAThousandSeeds(t, func(seed uint64) shutdown {
		sc := drawShutdown(seed)
		sc.signal %= shutdownLease
		return sc
	}, namesWhatIsLeased)
}

// TestFix07TwoSides is the fix. Its law compares the consumer's names with the
// broker's record, and it counts the events that it is about.
func TestFix07TwoSides(t *testing.T) {
	happened := forAThousandSeeds(t, drawShutdown, namesWhatIsLeased)
	for _, event := range []string{"delivered again", "let go", "in doubt"} {
		t.Logf("%s: %d", event, happened[event])
		if *seedFlag == 0 {
			assert.GreaterOrEqual(t, happened[event], 20, event)
		}
	}
}

// TestFix07Smallest is the smallest scenario that is red with the bug. It was
// made from the first seed that is.
func TestFix07Smallest(t *testing.T) {
	r := playShutdown(t, shutdown{
		pauses: make([]time.Duration, 1), slots: 2,
		takes: map[string]time.Duration{
			"m1 #1": 1500 * time.Millisecond, // its lease ends after a second
			"m1 #2": 200 * time.Millisecond,  // it is in doubt at 1.2s
		},
		lost:   map[string]bool{"m1 #2": true},
		signal: 1600 * time.Millisecond,
	})
	assert.Equal(t, []string{"m1"}, r.leased, "leased")
	assert.Equal(t, []string{"m1"}, r.abandoned, "abandoned")
}

// TestMistake07TwelveCases plays the cases that we have thought of.
func TestMistake07TwelveCases(t *testing.T) {
	const ms = time.Millisecond
	of1, of2 := make([]time.Duration, 1), make([]time.Duration, 2)
	type durations = map[string]time.Duration
	lost := func(names ...string) map[string]bool {
		m := make(map[string]bool)
		for _, name := range names {
			m[name] = true
		}
		return m
	}
	for _, tt := range []struct {
		name string
		sc   shutdown
		want []string // abandoned
	}{
		{"idle", shutdown{pauses: of1, slots: 1, signal: 500 * ms}, nil},
		{"done in the drain", shutdown{pauses: of1, slots: 1, signal: 500 * ms,
			drain: 300 * ms, takes: durations{"m1 #1": 700 * ms}}, nil},
		{"longer than the drain", shutdown{pauses: of1, slots: 1,
			signal: 500 * ms, drain: 100 * ms,
			takes: durations{"m1 #1": 700 * ms}},
			[]string{"m1"}},
		{"two of them", shutdown{pauses: of2, slots: 2, signal: 500 * ms,
			takes: durations{"m1 #1": 700 * ms, "m2 #1": 800 * ms}},
			[]string{"m1", "m2"}},
		{"one of two", shutdown{pauses: of2, slots: 2, signal: 500 * ms,
			takes: durations{"m1 #1": 700 * ms, "m2 #1": 100 * ms}},
			[]string{"m1"}},
		{"not begun", shutdown{pauses: of2, slots: 1, signal: 500 * ms,
			takes: durations{"m1 #1": 700 * ms}}, []string{"m1"}},
		{"in doubt", shutdown{pauses: of1, slots: 1, signal: 500 * ms,
			takes: durations{"m1 #1": 100 * ms}, lost: lost("m1 #1")},
			[]string{"m1"}},
		{"in doubt, and delivered again", shutdown{pauses: of1, slots: 1,
			signal: 1500 * ms, takes: durations{"m1 #2": 700 * ms},
			lost: lost("m1 #1")}, []string{"m1"}},
		{"no doubt any more", shutdown{pauses: of1, slots: 1, signal: 1500 * ms,
			lost: lost("m1 #1")}, nil},
		{"in doubt twice", shutdown{pauses: of1, slots: 1, signal: 1500 * ms,
			lost: lost("m1 #1", "m1 #2")}, []string{"m1"}},
		{"lease lost", shutdown{pauses: of1, slots: 1, signal: 1500 * ms,
			takes: durations{"m1 #1": 1700 * ms}}, []string{"m1"}},
		{"lease lost, done elsewhere", shutdown{pauses: of1, slots: 2,
			signal: 1500 * ms, takes: durations{"m1 #1": 1300 * ms,
				"m1 #2": 100 * ms}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, playShutdown(t, tt.sc).abandoned)
		})
	}
}

func TestLesson07TwelveCases(t *testing.T) {
	playTests(t, lesson07, []testRun{
		{"mistake: none of the twelve cases is the one", "mistake", 0,
			verdict{"green: TestMistake07TwelveCases" +
				", in spite of the bug", true}},
		{"mistake: a law about one side's counts", "mistake", 1,
			verdict{"green: TestMistake07OneSide, in spite of the bug: " +
				"0 of 1000 seeds", true}},
		{"mistake: no message is delivered twice", "mistake", 2,
			verdict{"green: TestMistake07TooEarly, in spite of the bug: " +
				"0 of 1000 seeds", true}},
		{"fix: a law about both sides", "fix", 0,
			verdict{"red: TestFix07TwoSides, because of the bug: " +
				"6 of 1000 seeds", false}},
		{"fix: the smallest case", "fix", 1,
			verdict{"red: TestFix07Smallest, because of the bug", false}},
		{"fix: without the bug the law holds", "fix", 2,
			verdict{"green: TestFix07TwoSides", false}},
		{"fix: the smallest case is green without the bug", "fix", 3,
			verdict{"green: TestFix07Smallest", false}},
	})
}
