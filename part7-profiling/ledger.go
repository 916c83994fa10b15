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

// A memoryDatabase is lost when the process exits, and never forgets anything
// before. The zero value is ready to use.
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

// A ledger keeps work from being repeated when a message is delivered twice. It
// knows only what is in the database: if the work succeeds but its answer is
// lost, or the process dies before markDone, the work is done again. So work
// should be idempotent.
type ledger struct {
	db database

	mu    sync.Mutex // never held while waiting
	turns map[string]*turn
}

// A turn is a lock that the callers for one piece of work take one after the
// other.
type turn struct {
	taken   chan struct{} // holds a value while a caller has it
	callers int           // that have it or wait for it; the lock guards it
}

// errInProgress is returned if ctx ends while another caller is working.
var errInProgress = errors.New("still in progress elsewhere")

// markTime is how long the database may take to mark something as done.
const markTime = 2 * time.Second

// once returns work that is skipped if it was already done for the message. A
// caller waits while another one is working.
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
		if ctx.Err() != nil { // select may have taken the turn anyway
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

// join returns the turn for some work.
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

// leave drops a turn when its last caller leaves.
func (l *ledger) leave(what string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.callers--; t.callers == 0 {
		delete(l.turns, what)
	}
}
