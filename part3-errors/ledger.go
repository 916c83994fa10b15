package main

import (
	"context"
	"errors"
	"sync"
)

// A ledger knows what has been done for which message, so that a message that
// is delivered twice is done once. It lives in memory and grows; part 4 has a
// database for it. The zero value is ready to use.
type ledger struct {
	mu      sync.Mutex // never held over a wait
	entries map[string]*entry
}

// An entry is one line of a ledger.
type entry struct {
	turn chan struct{} // holds a value while somebody works on it
	done bool          // who has the turn may read and write it
}

// errStillAtIt is returned to who has waited in vain for somebody else.
var errStillAtIt = errors.New("somebody else is still at it")

// once returns work that is done once for each message. Who comes while another
// is at it waits for its turn; who comes after has nothing to do.
func (l *ledger) once(what string, work workFunc) workFunc {
	return func(ctx context.Context, msg Message) error {
		e := l.entry(what, msg.ID)
		select {
		case e.turn <- struct{}{}:
			defer func() { <-e.turn }()
		case <-ctx.Done():
			return errStillAtIt
		}
		if ctx.Err() != nil { // the turn and the end may come together
			return context.Cause(ctx)
		}
		if e.done {
			return nil
		}
		err := work(ctx, msg)
		e.done = err == nil
		return err
	}
}

func (l *ledger) entry(what, id string) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries == nil {
		l.entries = make(map[string]*entry)
	}
	e := l.entries[what+" "+id]
	if e == nil {
		e = &entry{turn: make(chan struct{}, 1)}
		l.entries[what+" "+id] = e
	}
	return e
}
