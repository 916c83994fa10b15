package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson03PoisonMessage(t *testing.T) {
	tests := []struct {
		name      string
		fail      failFunc
		wantCalls int
		wantFirst []string // deliveries
		wantLast  string   // of the record
	}{
		{"mistake: given back at once", nackAtOnce, 1000, []string{
			"0s: delivered #1",
			"1ms: delivered #2",
			"2ms: delivered #3",
			"3ms: delivered #4",
			"4ms: delivered #5",
		}, "1s: nacked #1000"},
		{"fix: given back later and later, then no more", backOff, 5, []string{
			"0s: delivered #1",
			"45ms: delivered #2",
			"138ms: delivered #3",
			"284ms: delivered #4",
			"612ms: delivered #5",
		}, "613ms: dead-lettered #5: failed 5 times: restart refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				t.Log(oneSecond(t.Context(), s, tt.fail).text)
				var delivered []string
				for _, e := range s.broker.events() {
					if e.What == "delivered" {
						delivered = append(delivered,
							fmt.Sprintf("%v: delivered #%d", e.At, e.Attempt))
					}
				}
				story := s.broker.story("m1")
				assert.Equal(t, tt.wantFirst, delivered[:5], "the first")
				assert.Equal(t, tt.wantLast, story[len(story)-1], "the last")
				assert.Equal(t, tt.wantCalls, len(delivered), "deliveries")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}

func TestLesson03OneContextEach(t *testing.T) {
	tests := []struct {
		name string
		try  tryFunc
		want string
		took time.Duration
	}{
		{"mistake: the first attempt uses it up", oneContextForAll,
			"3 calls, 2 with a context that had ended, no answer",
			200 * time.Millisecond},
		{"fix: each has its own", oneContextEach,
			"3 calls, 0 with a context that had ended, an answer",
			450 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				got := hangsTwice(t.Context(), s, tt.try)
				t.Log(got.text)
				assert.Equal(t, tt.want, got.text, "verdict")
				assert.Equal(t, tt.took, time.Since(s.start), "took")
			})
		})
	}
}

func TestLesson03BoundDeliveries(t *testing.T) {
	tests := []struct {
		name   string
		giveUp giveUpFunc
		want   []string // the last two lines of the broker's record
	}{
		{"mistake: only failures are counted", countFailures, []string{
			"2.5s: expired #5",
			"2.5s: delivered #6",
		}},
		{"fix: deliveries are bounded, too", boundDeliveries, []string{
			"1.5s: delivered #4",
			"1.5s: dead-lettered #4: delivered too often",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				t.Log(killsItsProcess(t.Context(), s, tt.giveUp).text)
				story := s.broker.story("m1")
				assert.Equal(t, tt.want, story[len(story)-2:],
					"the end of the record")
				d := &Delivery{Attempt: 1}
				assert.NoError(t, tt.giveUp(d, 2), "after two failures")
				assert.Error(t, tt.giveUp(d, 3), "after three")
			})
		})
	}
}

// The defaults survive a database that is away for a minute: nothing becomes a
// dead letter.
func TestLesson03DatabaseAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := quietBroker(2*time.Second, 20)
		m := newMandrill(b, func(m *Mandrill) {
			m.slots = 8
			m.save = func(context.Context, Message) error {
				if time.Since(s.start) < time.Minute {
					return errDatabaseGone
				}
				return nil
			}
		})
		assert.NoError(t, publish(t.Context(), b, s.seed, 20, 0))
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, 20, b.count("acked"), "acked")
		assert.Equal(t, 0, b.count("dead-lettered"), "dead letters")
	})
}

// The service keeps to the schedule: each failure at its exact instant.
func TestLesson03Service(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, time.Minute, 1)
		publish(t.Context(), b, s.seed, 1, 0)
		m := newMandrill(b, func(m *Mandrill) {
			m.maxFailures, m.pause = 5, 50*time.Millisecond
			m.restart = func(context.Context, Message) error {
				time.Sleep(time.Millisecond)
				return errRefused
			}
		})
		assert.NoError(t, m.Run(t.Context()))
		assert.Equal(t, []string{
			"0s: delivered #1",
			"1ms: nacked #1",
			"45ms: delivered #2",
			"46ms: nacked #2",
			"138ms: delivered #3",
			"139ms: nacked #3",
			"284ms: delivered #4",
			"285ms: nacked #4",
			"612ms: delivered #5",
			"613ms: dead-lettered #5: failed 5 times: restart refused",
		}, b.story("m1"), "the record")
	})
}
