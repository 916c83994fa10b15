package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A database knows what has been done. Its methods may be called from any
// goroutine.
type database interface {
	// isDone reports whether something was marked as done.
	isDone(ctx context.Context, what string) (bool, error)

	// markDone marks it.
	markDone(ctx context.Context, what string) error
}

// A memoryDatabase lives in memory, grows, and is gone with the process. The
// zero value is ready to use.
type memoryDatabase struct {
	mu   sync.Mutex
	done map[string]bool
}

// isDone implements database.
func (db *memoryDatabase) isDone(_ context.Context, what string) (bool, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.done[what], nil
}

// markDone implements database.
func (db *memoryDatabase) markDone(_ context.Context, what string) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.done == nil {
		db.done = make(map[string]bool)
	}
	db.done[what] = true
	return nil
}

// A ledger keeps work from being done again once it is known to be done, so
// that a message that is delivered twice is not. It knows what the database
// knows: work that succeeded without a word, because its answer was lost or the
// process died, is done again. Work should be idempotent for that reason.
type ledger struct {
	db database

	mu    sync.Mutex // never held over a wait
	turns map[string]*turn
}

// A turn is what the callers for one piece of work take one after the other.
type turn struct {
	taken   chan struct{} // holds a value while a caller has it
	callers int           // that have it or wait for it; the lock guards it
}

// errInProgress is returned to a caller that has waited in vain for another.
var errInProgress = errors.New("still in progress elsewhere")

// markTime is how long the database may take to mark something as done.
const markTime = 2 * time.Second

// once returns work that is not repeated for a message. A caller waits while
// another one is working, and then has nothing to do if that succeeded.
func (l *ledger) once(what string, work workFunc) workFunc {
	return func(ctx context.Context, msg Message) error {
		what := what + " " + msg.ID
		t := l.join(what)
		defer l.leave(what, t)
		select {
		case t.taken <- struct{}{}:
			defer func() { <-t.taken }()
		case <-ctx.Done():
			return errInProgress
		}
		if ctx.Err() != nil { // the turn and the end may come together
			return context.Cause(ctx)
		}
		if done, err := l.db.isDone(ctx, what); done || err != nil {
			return err
		}
		if err := work(ctx, msg); err != nil {
			return err
		}
		// Even if ctx has ended: what is done should be known.
		ctx, cancel := context.WithTimeoutCause(
			context.WithoutCancel(ctx), markTime, errNoAnswer)
		defer cancel()
		return l.db.markDone(ctx, what)
	}
}

// join returns the turn for some work, and leave drops it with the last caller.
func (l *ledger) join(what string) *turn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turns == nil {
		l.turns = make(map[string]*turn)
	}
	t := l.turns[what]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		l.turns[what] = t
	}
	t.callers++
	return t
}

func (l *ledger) leave(what string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.callers--; t.callers == 0 {
		delete(l.turns, what)
	}
}
