package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestLesson05ExtenderNeverStops(t *testing.T) {
	tests := []struct {
		name      string
		handle    handleBothFunc
		want      string         // after 59s
		wantLeft  map[string]int // then
		wantStory []string       // the last two lines of the broker's record
	}{
		{
			name:   "mistake: the early return does not stop it",
			handle: returnEarly,
			want:   "returned after 500ms, extensions: 49 within 59s",
			wantLeft: map[string]int{
				"select in returnEarly.func1": 1, // the extender
				"select in returnEarly.func2": 1, // the restart's result
			},
			wantStory: []string{
				"57.6s: extended #1",
				"58.8s: extended #1",
			},
		},
		{
			name:   "fix: every return stops it",
			handle: releaseAlways,
			want:   "returned after 1s, extensions: 0 within 59s",
			wantStory: []string{
				"11s: delivered #2",
				"14s: expired #2",
			},
		},
		{
			name:   "service: every return stops it",
			handle: handleBothAsService,
			want:   "returned after 1s, extensions: 0 within 59s",
			wantStory: []string{
				"1.875s: delivered #2",
				"4.875s: expired #2",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				s.broker = newBroker(s.log, 3*time.Second, 1)
				got := saveFailsIn(t.Context(), s, tt.handle,
					time.Second/2, 59*time.Second)
				t.Log(got.text)
				assert.Equal(t, tt.want, got.text, "verdict")
				assert.Equal(t, tt.wantLeft, leaked(t, ignore), "left running")
				story := s.broker.story("m1")
				assert.Equal(t, tt.wantStory, story[len(story)-2:],
					"the end of the record")
				s.release()
			})
		})
	}
}

// A restart that fails counts like a save that does, and the ack waits for
// both.
func TestLesson05RestartFails(t *testing.T) {
	for name, handle := range map[string]handleBothFunc{
		"fix: nacked":     releaseAlways,
		"service: nacked": handleBothAsService,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				s.broker = newBroker(s.log, 3*time.Second, 1)
				t.Log(handleWatched(t.Context(), s, handle,
					takes(time.Second/2), refused, time.Minute).text)
				assert.Equal(t, "500ms: nacked #1", s.broker.story("m1")[1],
					"when the save has ended")
				s.release()
			})
		})
	}
}

// goleak names what is left, with file and line.
func TestLesson05FileAndLine(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
		t.Log(saveFails(t.Context(), s, returnEarly).text)
		left := goleak.Find(ignore)
		require.Error(t, left)
		for _, function := range []string{"func1", "func2"} {
			assert.Regexp(t, `returnEarly\.`+function+`\(\)\n\s+`+
				`\S+lesson05_extender_never_stops\.go:\d+`, left.Error())
		}
		s.release()
	})
}

// An extension that is under way is called off and waited for: settling comes
// last.
func TestLesson05LateExtension(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		s.broker = newBroker(s.log, 3*time.Second, 1)
		s.broker.slow = map[string]time.Duration{
			"extend": 300 * time.Millisecond,
		}
		t.Log(saveFailsIn(t.Context(), s, releaseAlways,
			1300*time.Millisecond, 5*time.Second).text)
		assert.Equal(t, []string{
			"0s: delivered #1",
			"1.3s: extend refused #1: context canceled",
			"1.3s: nacked #1",
		}, s.broker.story("m1"))
		s.release()
	})
}
