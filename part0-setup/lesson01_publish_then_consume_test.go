package main

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

// A close ends all consumers, and nothing is left running.
func TestCloseEndsAll(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ignore := goleak.IgnoreCurrent()
		s := newScene(t.Output(), 1)
		fiveMessages(t.Context(), s, closeAtTheEnd)

		assert.Equal(t, 700*time.Millisecond, time.Since(s.start), "took")
		assert.Equal(t, 5, s.count("consumed"), "messages consumed")
		assert.Empty(t, leaked(t, ignore), "left running")
	})
}

// A sentinel ends one consumer; closing the channel ends all of them.
func TestLesson01PublishThenConsume(t *testing.T) {
	tests := []struct {
		name         string
		pass         passFunc
		want         string
		wantConsumed int
		wantLeft     map[string]int // 59 minutes later
	}{
		{
			name:         "mistake: one sentinel for two consumers",
			pass:         endWithSentinel,
			want:         "not ended",
			wantConsumed: 5,
			wantLeft: map[string]int{
				"chan receive in endWithSentinel.func1":  1, // a consumer
				"sync.WaitGroup.Wait in endWithSentinel": 1, // waits for it
			},
		},
		{
			name:         "fix: one close for all consumers",
			pass:         closeAtTheEnd,
			want:         "ended at 700ms",
			wantConsumed: 5,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got := "not ended"
				go func() {
					fiveMessages(t.Context(), s, tt.pass)
					got = "ended at " + time.Since(s.start).String()
				}()
				time.Sleep(59 * time.Minute)
				synctest.Wait()

				t.Log(got)
				assert.Equal(t, tt.want, got, "after 59 minutes")
				assert.Equal(t, tt.wantConsumed, s.count("consumed"),
					"messages consumed")
				assert.Equal(t, tt.wantLeft, leaked(t, ignore), "left running")
				if got == "not ended" {
					close(s.queue) // let the consumer return
				}
			})
		})
	}
}

// Go's runtime reports a deadlock when no goroutine can ever run again. It
// doesn't while one of them waits for a timer, and it never does in a program
// that uses cgo or the race detector.
func TestLesson01Deadlock(t *testing.T) {
	t.Parallel()
	const reported = "all goroutines are asleep - deadlock!"
	tests := []struct {
		name    string
		side    string
		run     int
		child   child
		wantHow string
		wantWhy string
	}{
		{
			name: "mistake: the send comes before the receive", side: "mistake",
			child:   child{alone: true},
			wantHow: "exit status 2", wantWhy: reported,
		},
		{
			name: "mistake: the same, under -race", side: "mistake",
			child:   child{alone: true, race: true, hangs: true},
			wantHow: "still running after 1.2s",
		},
		{
			name: "mistake: one sentinel, while a timer ticks",
			side: "mistake", run: 1,
			child:   child{alone: true, hangs: true},
			wantHow: "still running after 1.2s",
		},
		{
			name: "fix: the consumers come first", side: "fix",
			child:   child{alone: true},
			wantHow: "exit status 0",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.child.race {
				needRace(t)
			}
			t.Parallel()
			l := lesson01
			l.mistakes = inChild(tt.child, slices.Clone(l.mistakes))
			l.fix = inChild(tt.child, slices.Clone(l.fix))
			e := watchRun(t, l, tt.side, tt.run)[0]
			assert.Equal(t, tt.wantHow, e.how, "how it ended")
			assert.Equal(t, tt.wantWhy, e.why, "what Go said")
		})
	}
}
