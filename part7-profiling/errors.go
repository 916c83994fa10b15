package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
)

// errTimedOut is the cause when an attempt has taken too long. The others are
// errDrainDeadline and errLeaseLost. context.Cause tells them apart; the error
// that comes back from the work does not.
var errTimedOut = errors.New("timed out")

// errNoResult is the result of work that has not returned. It stays the result
// if the work calls runtime.Goexit.
var errNoResult = errors.New("it did not return")

// A permanentError is a failure that a retry won't fix.
type permanentError struct{ error }

// Unwrap returns the error that is permanent.
func (e permanentError) Unwrap() error { return e.error }

// isPermanent reports whether a permanentError is in err.
func isPermanent(err error) bool {
	_, ok := errors.AsType[permanentError](err)
	return ok
}

// A panicError is a panic that was contained.
type panicError struct {
	value any
	stack []string // the calls that led to it, the innermost first
}

// Error implements error.
func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// panicStack returns the calls between a panic and its contain, in a deferred
// call of contain: "unreliable.func1 (hosts.go:80)".
func panicStack() (stack []string) {
	pcs := make([]uintptr, 100)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for f, more := frames.Next(); more; f, more = frames.Next() {
		name := f.Function[strings.LastIndex(f.Function, "/")+1:]
		_, name, _ = strings.Cut(name, ".") // the package
		switch {
		case f.Function == "runtime.gopanic":
			stack = nil // what came before is the way from the panic to us
		case name == "contain":
			return stack
		case !strings.HasPrefix(f.Function, "runtime."):
			stack = append(stack, fmt.Sprintf("%s (%s:%d)",
				name, filepath.Base(f.File), f.Line))
		}
	}
	return stack
}

// contain calls f and turns a panic of this goroutine into an error. Each
// goroutine needs its own, because a panic unwinds only its own goroutine, not
// the one that started it. Nothing contains what Go calls a fatal error: two
// goroutines that write to one map, a stack overflow, or being out of memory.
func contain(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{p, panicStack()}
		}
	}()
	if err = f(); err != nil {
		// The methods of an error may panic as well: on a nil pointer, say.
		// We call them here, because later calls are not contained.
		_, _ = err.Error(), errors.Is(err, errNoResult)
		_, _ = errors.AsType[*panicError](err)
	}
	return err
}

// logPanic logs a panic that was contained, its stack in lines of their own. It
// reports whether there was one.
func logPanic(log *slog.Logger, err error, attrs ...any) bool {
	p, ok := errors.AsType[*panicError](err)
	if ok {
		contain(func() error { // it may be the log that panics
			log := log.With(attrs...)
			log.Error("panicked", "err", oneLine(p))
			for _, call := range p.stack {
				log.Error("panicked", "in", call)
			}
			return nil
		})
	}
	return ok
}

// oneLine returns the text of an error, fit for a line of the log.
func oneLine(err error) string {
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
