// Lesson 0.4: cleanup that never runs.
//
// Whoever opens a database has to close it again, also when the work fails. Two
// common ways to leave skip that.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
)

// exitAtOnce is the mistake. os.Exit ends the process there and then, and no
// deferred call runs. log.Fatal logs a line and does the same.
func exitAtOnce(
	log *slog.Logger, db *database, work func() error,
) (err error) {
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := work(); err != nil {
		log.Error("failed", "err", err)
		os.Exit(1)
	}
	return nil
}

// closeLast is the second mistake. The early return skips the last statement.
func closeLast(log *slog.Logger, db *database, work func() error) error {
	if err := work(); err != nil {
		return err
	}
	return db.Close()
}

// deferAndReturn is the fix. The deferred call runs on every return, and on a
// panic in this goroutine. It joins the error of Close with that of the work.
// Both go to main, the only place that exits.
func deferAndReturn(
	log *slog.Logger, db *database, work func() error,
) (err error) {
	defer func() { err = errors.Join(err, db.Close()) }()
	return work()
}

type programFunc func(log *slog.Logger, db *database, work func() error) error

// A database is something that has to be closed.
type database struct{ log *slog.Logger }

// Close fails, so that we see whether its error arrives.
func (db *database) Close() error {
	db.log.Info("closed")
	return errors.New("close: journal not written")
}

// failAtWork is a whole program whose work fails. It exits the way main does.
func failAtWork(
	_ context.Context, s *scene, program programFunc,
) verdict {
	err := program(s.log, &database{s.log}, func() error {
		return errors.New("disk full")
	})
	if err != nil {
		s.log.Error("failed", "err", err)
		os.Exit(1)
	}
	return verdict{}
}

// countClosed returns the verdict, from how often Close was called.
func countClosed(endings []ending) verdict {
	e := endings[0]
	closed := strings.Count(e.printed, "msg=closed")
	return verdict{
		text:   fmt.Sprintf("%s, Close calls: %d", e.how, closed),
		failed: closed != 1,
	}
}

var lesson04 = lesson{
	number: 4, core: true, title: "cleanup that never runs",
	watch: "whether the database is closed, and which errors are reported",
	mistakes: inChild(child{verdict: countClosed},
		runs(failAtWork, exitAtOnce, closeLast)),
	fix: inChild(child{verdict: countClosed},
		runs(failAtWork, deferAndReturn)),
}
