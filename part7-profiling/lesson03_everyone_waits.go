// Lesson 7.3: the logger that everyone waits for.
//
// A hundred handlers log a line each, to a terminal that needs two milliseconds
// for a line. And a thousand lines are logged at Debug, which is off.

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"sync/atomic"
	"time"
)

// logDirectly is the mistake: each line is written straight to the terminal. A
// handler of slog holds a lock while it writes a line.
func logDirectly(w io.Writer) (log *slog.Logger, done func() error) {
	return newLog(w, slog.LevelInfo), func() error { return nil }
}

// logThroughBuffer is the fix: it puts the service's buffer in between.
func logThroughBuffer(w io.Writer) (log *slog.Logger, done func() error) {
	buffer := newLogBuffer(w, logRoom)
	return newLog(buffer, slog.LevelInfo), func() error {
		return buffer.Close(context.Background())
	}
}

// An openFunc returns a log that writes to w. done is called after the last
// line.
type openFunc func(w io.Writer) (log *slog.Logger, done func() error)

// A terminal needs two milliseconds for each write.
type terminal struct{ lines atomic.Int64 }

// Write implements io.Writer.
func (t *terminal) Write(p []byte) (int, error) {
	time.Sleep(2 * time.Millisecond)
	t.lines.Add(int64(bytes.Count(p, []byte("\n"))))
	return len(p), nil
}

// logHundred has a hundred handlers log at once. It reports how long they took,
// and where they have waited for a lock.
func logHundred(_ context.Context, s *scene, open openFunc) verdict {
	var t terminal
	log, done := open(&t)
	stop := startWaitProfiles()
	took := atOnce(100, func(i int) {
		log.Info("restarted", "id", newMessage(s.seed, i).ID)
	})
	stop()
	if err := done(); err != nil {
		return verdict{text: err.Error()}
	}
	p, err := lookUp("block")
	if err != nil {
		return verdict{text: err.Error()}
	}
	_, waited, _ := spent(p, "(*commonHandler).handle")
	s.log.Info("logged", "lines", t.lines.Load(), "all", ms(took),
		"waited_in_slog", ms(waited))
	return verdict{}
}

// formatFirst is a mistake, too: the text is ready before anything asks for the
// level.
func formatFirst(log *slog.Logger, h *host) {
	log.Debug(fmt.Sprintf("asking %v", h))
}

// passTheHost is its fix: the log asks for the value if it needs it.
func passTheHost(log *slog.Logger, h *host) {
	log.Debug("asking", "host", h)
}

// A host is expensive to format.
type host struct {
	name  string
	asked int
}

// String implements fmt.Stringer.
func (h *host) String() string {
	h.asked++
	return h.name
}

// LogValue implements slog.LogValuer.
func (h *host) LogValue() slog.Value {
	return slog.StringValue(h.String())
}

// logThousand logs a thousand lines at Debug, which is off.
func logThousand(
	_ context.Context, s *scene, debug func(*slog.Logger, *host),
) verdict {
	h := &host{name: "cattle-x7f2"}
	log := newLog(io.Discard, slog.LevelInfo)
	for range 1000 {
		debug(log, h)
	}
	s.log.Info("logged nothing", "times", 1000, "formatted", h.asked)
	return verdict{}
}

// judgeLog is the verdict on a log: it has failed if the handlers have waited
// for each other.
func judgeLog(endings []ending) verdict {
	printed := endings[0].printed
	lines, ok := figure(printed, `msg=logged lines=(\d+)`)
	if !ok {
		return verdict{}
	}
	took, _ := figure(printed, `all=~(\d+)ms`)
	waited, _ := figure(printed, `waited_in_slog=~(\d+)ms`)
	return verdict{fmt.Sprintf("%d lines in ~%dms; the handlers waited ~%dms "+
		"in slog", lines, took, waited), waited > 5000}
}

// judgeDebug is the verdict on lines that nobody wants: it has failed if they
// were formatted.
func judgeDebug(endings []ending) verdict {
	m := regexp.MustCompile(`times=(\d+) formatted=(\d+)`).
		FindStringSubmatch(endings[0].printed)
	if m == nil {
		return verdict{}
	}
	return verdict{fmt.Sprintf("%s lines at Debug, which is off; formatted %s "+
		"times", m[1], m[2]), m[2] != "0"}
}

var lesson03 = lesson{
	number: 3, core: true, title: "the logger that everyone waits for",
	watch: "for how long a hundred handlers are busy with a line each",
	mistakes: slices.Concat(
		inChild(child{verdict: judgeLog}, runs(logHundred, logDirectly)),
		inChild(child{verdict: judgeDebug}, runs(logThousand, formatFirst)),
	),
	fix: slices.Concat(
		inChild(child{verdict: judgeLog}, runs(logHundred, logThroughBuffer)),
		inChild(child{verdict: judgeDebug}, runs(logThousand, passTheHost)),
	),
}
