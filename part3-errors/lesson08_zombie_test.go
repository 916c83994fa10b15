package main

import (
	"io"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson08Zombie(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name    string
		consume consumeFunc
		want    string // when the broker fails for ever, after 59 minutes
		warned  int    // lines about it
		short   string // when it fails for two seconds
	}{
		{
			name:    "mistake: it is in the log",
			consume: logAndReturn,
			want:    "process lives on, 11795 waiting",
			warned:  1,
			short:   "process lives on, 15 waiting",
		},
		{
			name:    "fix: retried, and then returned",
			consume: retryThenReturn,
			want: "process ended after 5.2s: " +
				"receive failed for 4s: access denied",
			warned: 6,
			short:  "process ended after 6.7s: seen enough",
		},
	}
	for _, tt := range tests {
		play := func(
			t *testing.T, outage, watch time.Duration,
		) (text string, warned int, probes []string) {
			inBubble(t, func(t *testing.T) {
				ignore := goleak.IgnoreCurrent()
				var log lines
				s := newScene(io.MultiWriter(&log, t.Output()), 1)
				text = brokerFailsFor(
					t.Context(), s, tt.consume, outage, watch).text
				t.Log(text)
				warned = log.count("receive failed")
				probes = regexp.MustCompile(`ready=(\w+)`).
					FindAllString(log.copy().text.String(), -1)
				assert.Empty(t, leaked(t, ignore), "left running")
			})
			return text, warned, probes
		}
		t.Run(tt.name, func(t *testing.T) {
			text, warned, probes := play(t, time.Hour, 59*time.Minute-100*ms)
			assert.Equal(t, tt.want, text, "the broker fails for ever")
			assert.Equal(t, tt.warned, warned, "lines about it")
			assert.Equal(t, []string{"ready=true", "ready=false"}, probes,
				"the probes")
			text, _, _ = play(t, 2*time.Second, 5900*ms)
			assert.Equal(t, tt.short, text, "it fails for two seconds")
		})
	}
}
