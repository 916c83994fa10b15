package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A message has perMessage goroutines at its busiest, an extension in progress
// among them, and all wear its labels. When it is settled, there are none.
func TestLabels(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(10*time.Second, 100)
		b.slow = map[string]time.Duration{"extend": time.Second}
		m := newMandrill(b, func(m *Mandrill) {
			m.slots = 20
			m.save, m.restart = ignoring(5*time.Second), ignoring(5*time.Second)
		})
		publishOnly(t, b, 20)
		b.Close()
		ended := make(chan error, 1)
		go func() { ended <- m.Run(t.Context()) }()
		time.Sleep(4*time.Second + time.Millisecond) // see keeper
		synctest.Wait()
		assert.Equal(t, ceiling(20), messageGoroutines(), "extending")
		d := &Delivery{Message: Message{ID: "m7"}, Attempt: 1}
		n := 0
		for _, s := range stacks() {
			if s.wears(d) {
				n += s.goroutines
			}
		}
		assert.Equal(t, perMessage, n, "of m7")
		assert.NoError(t, <-ended)
		synctest.Wait() // a handler gives its slot back before it has ended
		assert.Zero(t, messageGoroutines(), "settled")
	})
}

// A label may hold anything, because an ID comes from a stranger.
func TestStrangeLabels(t *testing.T) {
	for _, id := range []string{"m1", "", `"`, "\n\n1 @ 0x1\n", "m 1", "ü",
		"\x00\xff", strings.Repeat("x", 1000)} {
		d := &Delivery{Message: Message{ID: id}, Attempt: 3}
		other := &Delivery{Message: Message{ID: id + "0"}, Attempt: 3}
		labelled(t.Context(), d, func(context.Context) {
			n := 0
			for _, s := range stacks() {
				assert.False(t, s.wears(other), "%q", id)
				if s.wears(d) {
					n++
					assert.Contains(t, strings.Join(s.calls, " "),
						"TestStrangeLabels.func1 (labels_test.go:")
				}
			}
			assert.Equal(t, 1, n, "%q", id)
		})
	}
}

// The profile's lines are read wherever the sources are.
func TestCallLine(t *testing.T) {
	for line, want := range map[string][]string{
		"#\t0x7\tmain.hanging.func1+0xbb\t/a b/hosts.go:38\n": {
			"hanging.func1", "/a b/hosts.go:38"},
		"#\t0x7\ta.b/c.(*Mandrill).try+0xb\t\tC:/x/attempt.go:3\n": {
			"(*Mandrill).try", "C:/x/attempt.go:3"},
		"# labels: {}\n": nil,
	} {
		m := callLine.FindStringSubmatch(line)
		if want == nil {
			assert.Nil(t, m, line)
		} else if assert.Len(t, m, 3, line) {
			assert.Equal(t, want, m[1:], line)
		}
	}
}

// The list begins with what has been in its stage for the longest time.
func TestInFlightList(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var f inFlight
		a, b := newDelivery(newMessage(1, 2)), newDelivery(newMessage(1, 1))
		f.begin(a)
		time.Sleep(time.Second)
		f.begin(b)
		time.Sleep(time.Second)
		ids := func() (ids []string) {
			for _, e := range f.list() {
				ids = append(ids, fmt.Sprintf("%s %s %v",
					e.ID, e.stage, time.Since(e.since)))
			}
			return ids
		}
		assert.Equal(t, []string{"m2 working 2s", "m1 working 1s"}, ids())
		f.settles(a)
		time.Sleep(time.Second)
		assert.Equal(t, []string{"m1 working 2s", "m2 settling 1s"}, ids())
		f.end(a, errNoAnswer, 20*time.Minute)
		later := newDelivery(newMessage(1, 2))
		f.begin(later) // m2 again: the first is not in doubt any more
		f.end(b, nil, time.Hour)
		assert.Equal(t, []string{"m2 working 0s"}, ids())
		time.Sleep(30 * time.Minute) // the timer of the first one has no effect
		assert.Equal(t, []string{"m2 working 30m0s"}, ids())
	})
}

// What is settled stays settled, even if its handler panics afterwards: it must
// not be abandoned.
func TestInFlightSettledStays(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var f inFlight
		d := newDelivery(newMessage(1, 1))
		f.begin(d)
		f.settles(d)
		f.end(d, nil, time.Minute)
		f.end(d, errNoAnswer, time.Minute)
		assert.Empty(t, f.ids())
	})
}
