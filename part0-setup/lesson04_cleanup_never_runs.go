// Lesson 0.4: cleanup that never runs.
//
// Who opens a database closes it again, also when things go wrong. There are
// two popular ways to leave that skip it.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
)

var lesson04 = lesson{
	number: 4, core: true, title: "cleanup that never runs",
	mistakes: inChild(child{verdict: countClosed},
		runs(failAtWork, exitAtOnce, closeLast)),
	fix: inChild(child{verdict: countClosed},
		runs(failAtWork, deferAndReturn)),
}

// exitAtOnce is the mistake. os.Exit ends the process there and then, and no
// deferred call runs. log.Fatal is the same, with a line before it.
func exitAtOnce(log *slog.Logger, db *database, work func() error) error {
	defer db.Close()
	if err := work(); err != nil {
		log.Error("failed", "err", err)
		os.Exit(1)
	}
	return nil
}

// closeLast is the second mistake. The last statement is not reached.
func closeLast(log *slog.Logger, db *database, work func() error) error {
	if err := work(); err != nil {
		return err
	}
	db.Close()
	return nil
}

// deferAndReturn is the fix. The deferred call runs whichever way we leave, and
// the error goes to the one place that exits: main.
func deferAndReturn(log *slog.Logger, db *database, work func() error) error {
	defer db.Close()
	return work()
}

type programFunc func(log *slog.Logger, db *database, work func() error) error

// A database is something that has to be closed.
type database struct{ log *slog.Logger }

func (db *database) Close() { db.log.Info("closed") }

// failAtWork is a whole program, whose work fails. It exits as main does.
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

// countClosed judges by how often the database was closed.
func countClosed(endings []ending) verdict {
	e := endings[0]
	closed := strings.Count(e.printed, "msg=closed")
	return verdict{
		text:   fmt.Sprintf("%s, Close called %d times", e.how, closed),
		failed: closed != 1,
	}
}
