// Lesson 2.5: closed under its users.
//
// A service opens a database, starts handlers that save to it, and defers what
// it has to do at the end. Deferred calls run in reverse order.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// waitThenOpen is the mistake. The handlers' WaitGroup comes first in the code,
// so its Wait comes last, and the database is closed while they work.
func waitThenOpen(db *database, start func(handlers *sync.WaitGroup)) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	db.Open()
	defer db.Close()
	start(&handlers)
}

// openThenWait is the fix. The database is opened before its users start, so it
// is closed after they have ended.
func openThenWait(db *database, start func(handlers *sync.WaitGroup)) {
	db.Open()
	defer db.Close()
	var handlers sync.WaitGroup
	defer handlers.Wait()
	start(&handlers)
}

// A databaseFunc opens the database, starts its users and closes it.
type databaseFunc func(db *database, start func(handlers *sync.WaitGroup))

// errDatabaseClosed is returned by a save that ends after the close.
var errDatabaseClosed = errors.New("database closed")

// A database can be used while it is open.
type database struct {
	log   *slog.Logger
	mu    sync.Mutex
	open  bool
	saved int
}

// Open opens the database.
func (db *database) Open() { db.set(true, "database opened") }

// Close closes the database. A save in progress fails then.
func (db *database) Close() { db.set(false, "database closed") }

// set opens or closes the database, and logs what.
func (db *database) set(open bool, what string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.open = open
	db.log.Info(what)
}

// Save takes a second.
func (db *database) Save(msg Message) error {
	time.Sleep(time.Second)
	db.mu.Lock()
	defer db.mu.Unlock()
	if !db.open {
		db.log.Info("save failed", "id", msg.ID, "err", errDatabaseClosed)
		return errDatabaseClosed
	}
	db.saved++
	db.log.Info("saved", "id", msg.ID)
	return nil
}

// threeSaves is a service that is stopped when it has started three handlers.
func threeSaves(
	_ context.Context, s *scene, serve databaseFunc,
) verdict {
	db := &database{log: s.log}
	serve(db, func(handlers *sync.WaitGroup) {
		for i := range 3 {
			handlers.Go(func() { db.Save(newMessage(s.seed, i+1)) })
		}
		time.Sleep(time.Second / 2)
		s.log.Info("signal")
	})
	return verdict{
		text:   fmt.Sprintf("3 saves in flight, %d failed", 3-db.saved),
		failed: db.saved < 3,
	}
}

var lesson05 = lesson{
	number: 5, title: "closed under its users",
	watch:    "when the database is closed, and how the saves end",
	mistakes: runs(threeSaves, waitThenOpen),
	fix:      runs(threeSaves, openThenWait),
}
