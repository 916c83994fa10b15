// Lesson 1.9: one struct, many writers.
//
// Saving and restarting run side by side, and each notes what it did in a
// struct that both share. Each writes only its own field.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// progress is what has been done for a message.
type progress struct {
	saved, restarted bool
}

// writeFields is the mistake. Neither job writes the other's field, but the log
// lines read both.
func writeFields(log *slog.Logger, save, restart func() bool) progress {
	var p progress
	var jobs sync.WaitGroup
	jobs.Go(func() {
		p.saved = save()
		log.Info("saved", "saved", p.saved, "restarted", p.restarted)
	})
	jobs.Go(func() {
		p.restarted = restart()
		log.Info("restarted", "saved", p.saved, "restarted", p.restarted)
	})
	jobs.Wait()
	return p
}

// mendTheReport is the second mistake. The report named a log line that reads
// what the other job writes, and that line is fixed. But there were two races,
// and the detector had printed one.
func mendTheReport(log *slog.Logger, save, restart func() bool) progress {
	var p progress
	var jobs sync.WaitGroup
	jobs.Go(func() {
		p.saved = save()
		log.Info("saved", "saved", p.saved)
	})
	jobs.Go(func() {
		p.restarted = restart()
		log.Info("restarted", "saved", p.saved, "restarted", p.restarted)
	})
	jobs.Wait()
	return p
}

// returnResults is the fix. Each goroutine has a result of its own and reads no
// other. The results are combined after Wait, when both goroutines have ended.
func returnResults(log *slog.Logger, save, restart func() bool) progress {
	var saved, restarted bool
	var jobs sync.WaitGroup
	jobs.Go(func() {
		saved = save()
		log.Info("saved", "saved", saved)
	})
	jobs.Go(func() {
		restarted = restart()
		log.Info("restarted", "restarted", restarted)
	})
	jobs.Wait()
	return progress{saved, restarted}
}

type noteFunc func(log *slog.Logger, save, restart func() bool) progress

// noteProgress has a message saved in 100ms and its host restarted in 300ms.
func noteProgress(_ context.Context, s *scene, handle noteFunc) verdict {
	doneAfter := func(d time.Duration) func() bool {
		return func() bool {
			time.Sleep(d)
			return true
		}
	}
	p := handle(s.log, doneAfter(100*time.Millisecond),
		doneAfter(300*time.Millisecond))
	s.log.Info("handled", "saved", p.saved, "restarted", p.restarted)
	return verdict{} // the parent judges: raced
}

// raced judges by what the race detector reports.
func raced(endings []ending) verdict {
	e := endings[0]
	reports := strings.Count(e.printed, "WARNING: DATA RACE")
	return verdict{
		text:   fmt.Sprintf("%s, reports of a data race: %d", e.how, reports),
		failed: e.code == 66 && reports > 0,
	}
}

var lesson09 = lesson{
	number: 9, title: "one struct, many writers",
	watch: "what the race detector reports, and the exit status",
	mistakes: inChild(child{verdict: raced, race: true},
		runs(noteProgress, writeFields, mendTheReport)),
	fix: inChild(child{verdict: raced, race: true},
		runs(noteProgress, returnResults)),
}
