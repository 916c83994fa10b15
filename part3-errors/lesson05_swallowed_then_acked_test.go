package main

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLesson05SwallowedThenAcked(t *testing.T) {
	all := []string{"acked", "acked", "acked", "acked"}
	done := []string{"acked", "nacked", "nacked", "nacked"}
	tests := []struct {
		name   string
		handle handleLogged
		want   []string // both ok, save failed, restart failed, both failed
	}{
		{"mistake: the error is dropped", dropTheErrors, all},
		{"mistake: the error is logged", logTheErrors, all},
		{"mistake: the ack is deferred", deferTheAck, all},
		{"fix: the work decides", lookAtBoth, done},
		{"service: the work decides", handleLoggedAsService, done},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				fourCases(t.Context(), s, tt.handle)
				var got []string
				for _, e := range s.broker.events() {
					if e.What == "acked" || e.What == "nacked" {
						got = append(got, e.What)
					}
				}
				assert.Equal(t, tt.want, got)
			})
		})
	}
}

func handleLoggedAsService(
	ctx context.Context, _ *slog.Logger, d *Delivery, save, restart workFunc,
) {
	handleBothAsService(ctx, d, save, restart)
}
