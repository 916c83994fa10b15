package main

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestLesson04ExtenderNeverStops(t *testing.T) {
	tests := []struct {
		name     string
		handle   handleBothFunc
		want     string // after 59s
		wantLeft map[string]int
		wantNext int // number of the next delivery, if there is one
	}{
		{"mistake: nobody stops it", returnEarly,
			"returned after 500ms, extended 29 times by 59s",
			map[string]int{
				"select in returnEarly.func1": 1, // the extender
				"select in returnEarly.func2": 1, // the restart's result
			}, 0},
		{"fix: stopped on every way out", releaseAlways,
			"returned after 1s, extended 0 times by 59s", nil, 2},
		{"service: stopped on every way out", handleBothAsService,
			"returned after 1s, extended 0 times by 59s", nil, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				s.broker = newBroker(s.log, 3*time.Second, 1)
				got := saveFailsAt(t.Context(), s, tt.handle,
					500*time.Millisecond, 59*time.Second)
				assert.Equal(t, tt.want, got.text)
				assert.Equal(t, tt.wantLeft, leaked(t, ignore))

				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				next := 0
				if d, err := s.broker.Receive(ctx, forever); err == nil {
					next = d.Attempt
				}
				assert.Equal(t, tt.wantNext, next)
				s.release()
			})
		})
	}
}

// goleak names what is left, at file and line.
func TestLesson04FileAndLine(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, ignore := newScene(io.Discard, 1), goleak.IgnoreCurrent()
		saveFails(t.Context(), s, returnEarly)
		left := goleak.Find(ignore)
		require.Error(t, left)
		for _, function := range []string{"func1", "func2"} {
			assert.Regexp(t, `returnEarly\.`+function+`\(\)\n\s+`+
				`\S+lesson04_extender_never_stops\.go:\d+`, left.Error())
		}
		s.release()
	})
}

// An extension that is under way is waited for: settling comes last.
func TestLesson04LateExtension(t *testing.T) {
	tests := []struct {
		name   string
		handle handleBothFunc
		want   []string
	}{
		{"fix: called off, then given back", releaseAlways, []string{
			"0s: delivered #1",
			"2.1s: extend refused #1: context canceled",
			"2.1s: nacked #1",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				s.broker = newBroker(s.log, 10*time.Second, 1)
				s.broker.slow = map[string]time.Duration{
					"extend": 300 * time.Millisecond,
				}
				saveFailsAt(t.Context(), s, tt.handle,
					2100*time.Millisecond, 5*time.Second)
				assert.Equal(t, tt.want, s.broker.story("m1"))
				s.release()
			})
		})
	}
}

// handleBothAsService lets the service handle a delivery.
func handleBothAsService(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	b := d.verbs.(*lent).broker
	m := newMandrill(b, func(m *Mandrill) { m.save, m.restart = save, restart })
	d.until = d.Asked.Add(b.lease)
	do, why := m.handle(ctx, d)
	m.settle(ctx, d, do, why)
}
