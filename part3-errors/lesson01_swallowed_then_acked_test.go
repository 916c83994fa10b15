package main

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestLesson01SwallowedThenAcked(t *testing.T) {
	all := []string{"acked", "acked", "acked", "acked"}
	done := []string{"acked", "nacked", "nacked", "nacked"}
	tests := []struct {
		name   string
		handle handleLogged
		want   []string // both ok, save failed, restart failed, both failed
		again  []string // what is delivered again, and when
	}{
		{"mistake: the error is dropped", dropTheErrors, all, nil},
		{"mistake: the error is logged", logTheErrors, all, nil},
		{"mistake: the ack is deferred", deferTheAck, all, nil},
		{"fix: the work decides", lookAtBoth, done,
			[]string{"m2 at 1.02s", "m3 at 1.03s", "m4 at 1.04s"}},
		{"service: the work decides", handleLoggedAsService, done,
			[]string{"m4 at 575ms", "m2 at 708ms", "m3 at 765ms"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				t.Log(fourCases(t.Context(), s, tt.handle).text)
				var got, again []string
				for _, e := range s.broker.events() {
					if e.What == "acked" || e.What == "nacked" {
						got = append(got, e.What)
					}
				}
				assert.Equal(t, tt.want, got, "settled")
				for {
					d, err := s.broker.Receive(t.Context(), 10*time.Second)
					if err != nil {
						break
					}
					again = append(again, fmt.Sprintf("%s at %v",
						d.ID, time.Since(s.start)))
				}
				assert.Equal(t, tt.again, again, "delivered again")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}

// Work that the drain has cut short is not done either.
func TestLesson01CutShort(t *testing.T) {
	for name, handle := range map[string]handleLogged{
		"fix: nacked": lookAtBoth, "service: nacked": handleLoggedAsService,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				b := newBroker(s.log, time.Minute, 1)
				publishOnly(t, b, 1)
				d, err := b.Receive(t.Context(), time.Second)
				require.NoError(t, err)
				d.until = d.Asked.Add(b.lease)
				handle(t.Context(), s.log, d, nothing,
					fails(errDrainDeadline))
				assert.Equal(t, "0s: nacked #1", b.story("m1")[1])
			})
		})
	}
}

func handleLoggedAsService(
	ctx context.Context, _ *slog.Logger, d *Delivery, save, restart workFunc,
) {
	handleBothAsService(ctx, d, save, restart)
}
