package main

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLesson03EveryoneWaits(t *testing.T) {
	t.Parallel()
	assertVerdicts(t, lesson03, []verdictRow{
		{"mistake: they wait for each other's lines", 0, nil,
			verdict{failed: true, text: "100 lines in ~ms; the handlers " +
				"waited ~ms in slog"}},
		{"mistake: it formats what it does not log", 1, nil,
			verdict{failed: true, text: "1000 lines at Debug, which is off; " +
				"formatted 1000 times"}},
		{"fix: they don't wait, and no line is lost", 0, nil,
			verdict{text: "100 lines in ~ms; the handlers waited ~ms in slog"}},
		{"fix: it does not format", 1, nil,
			verdict{text: "1000 lines at Debug, which is off; " +
				"formatted 0 times"}},
	})
}

// Whether a line at Debug allocates although Debug is off.
func TestLesson03Allocations(t *testing.T) {
	log, ctx := newLog(io.Discard, slog.LevelInfo), context.Background()
	h := &host{name: "cattle-x7f2"}
	id, n := newMessage(1, 1).ID, 1000*len(h.name)
	for _, row := range []struct {
		name string
		line func()
		want float64
	}{
		{"formatted first", func() { formatFirst(log, h) }, 1},
		{"a pointer", func() { passTheHost(log, h) }, 0},
		{"a string", func() { log.Debug("asking", "id", id) }, 1},
		{"a number", func() { log.Debug("asking", "n", n) }, 1},
		{"slog.String, with LogAttrs", func() {
			log.LogAttrs(ctx, slog.LevelDebug, "asking", slog.String("id", id))
		}, 0},
		{"a look at the level first", func() {
			if log.Enabled(ctx, slog.LevelDebug) {
				log.Debug("asking", "id", id)
			}
		}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			// Under -race, sync.Pool forgets some of what fmt keeps there.
			got := min(testing.AllocsPerRun(100, row.line), 1)
			assert.Equal(t, row.want, got)
		})
	}
}
