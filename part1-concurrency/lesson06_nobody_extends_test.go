package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson06NobodyExtends(t *testing.T) {
	tests := []struct {
		name   string
		handle handleFunc
		want   []string // the broker's record
	}{
		{"mistake: the host is restarted twice", workThenAck, []string{
			"0s: delivered #1",
			"2s: expired #1",
			"2s: delivered #2",
			"3s: acked #1",
			"5s: ack refused #2: already settled",
		}},
		{"fix: it is restarted once", workUnderLease, []string{
			"0s: delivered #1",
			"800ms: extended #1",
			"1.6s: extended #1",
			"2.4s: extended #1",
			"3s: acked #1",
		}},
		{"service: it is restarted once", handleAsService, []string{
			"0s: delivered #1",
			"800ms: extended #1",
			"1.6s: extended #1",
			"2.4s: extended #1",
			"3s: acked #1",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				t.Log(slowHost(t.Context(), s, tt.handle).text)
				assert.Equal(t, tt.want, s.broker.story("m1"), "the record")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}

// A restart that hangs does not keep its message for ever. After the limit its
// lease is not extended, and the message is delivered again.
func TestLesson06MaximumLease(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name   string
		handle handleFunc
		takes  time.Duration // longer than the limit and the lease together
		want   []string      // the end of the record
	}{
		{"fix: not extended after 3.5s", workUnderLease, 5900 * ms, []string{
			"3.2s: extended #1",
			"5.2s: expired #1",
			"5.2s: delivered #2",
			"5.9s: acked #1",
			"6s: extend refused #2: already settled",
			"11.1s: ack refused #2: already settled",
		}},
		{"service: not after 18s", handleAsService, 20300 * ms, []string{
			"17.6s: extended #1",
			"19.6s: expired #1",
			"19.6s: delivered #2",
			"20.3s: acked #1",
			"20.4s: extend refused #2: already settled",
			"39.9s: ack refused #2: already settled",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				s.broker = newBroker(s.log, 2*time.Second, 1)
				restart := s.work("restarted", tt.takes)
				t.Log(deliverAll(t.Context(), s, tt.handle, restart).text)
				story := s.broker.story("m1")
				assert.Equal(t, tt.want, story[max(0, len(story)-6):],
					"the end of the record")
			})
		})
	}
}

// An extension that is under way when the work ends is called off and waited
// for: settling comes last.
func TestLesson06LateExtension(t *testing.T) {
	tests := []struct {
		name   string
		handle handleFunc
		want   []string
	}{
		{"fix: cancelled, then acked", workUnderLease, []string{
			"0s: delivered #1",
			"1.5s: extended #1",
			"2.3s: extended #1",
			"3s: extend refused #1: context canceled",
			"3s: acked #1",
		}},
		{"service: cancelled, then acked", handleAsService, []string{
			"0s: delivered #1",
			"1.5s: extended #1",
			"2.3s: extended #1",
			"3s: extend refused #1: context canceled",
			"3s: acked #1",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				s.broker = newBroker(s.log, 2*time.Second, 1)
				s.broker.slow = map[string]time.Duration{
					"extend": 700 * time.Millisecond,
				}
				restart := s.work("restarted", 3*time.Second)
				t.Log(deliverAll(t.Context(), s, tt.handle, restart).text)
				assert.Equal(t, tt.want, s.broker.story("m1"), "the record")
			})
		})
	}
}
