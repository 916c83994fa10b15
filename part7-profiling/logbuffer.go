package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A logBuffer takes lines and writes them in a goroutine of its own, so that
// whoever logs does not wait for a slow disk or for a terminal. Its memory is
// bounded: while it is full, it drops lines and counts them. It writes the
// count when there is room again. (While it writes, it holds as much again.)
type logBuffer struct {
	to    io.Writer
	room  int           // bytes
	wrote chan struct{} // closed when the last line is written
	some  chan struct{} // holds a value while there is something to do

	mu      sync.Mutex // never held while writing
	lines   []byte     // not written yet
	dropped int        // since the last write
	closed  bool
}

// logRoom is how many bytes of lines may wait while others are being written.
const logRoom = 1 << 20

// droppedLine says how many lines are missing at this place of the log.
const droppedLine = "level=WARN msg=\"log lines dropped\" lines=%d\n"

// errLogClosed is returned by a write that comes after Close.
var errLogClosed = errors.New("the log is closed")

// newLogBuffer returns a buffer in front of w, with room for so many bytes. The
// caller must call Close.
func newLogBuffer(w io.Writer, room int) *logBuffer {
	l := &logBuffer{
		to: w, room: room,
		wrote: make(chan struct{}), some: make(chan struct{}, 1),
	}
	go l.write()
	return l
}

// Write implements io.Writer. It takes a whole line or drops it, and does not
// block. Once it has dropped a line, it drops all others until there is room,
// so the count stands in the right place.
func (l *logBuffer) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, errLogClosed
	}
	if l.dropped > 0 || len(l.lines)+len(line) > l.room {
		l.dropped++
		return len(line), nil
	}
	l.lines = append(l.lines, line...)
	l.wake()
	return len(line), nil
}

// wake tells the writer that there is something to do. The caller holds the
// lock.
func (l *logBuffer) wake() {
	select {
	case l.some <- struct{}{}:
	default: // it has been told
	}
}

// write writes until the buffer is closed and empty.
func (l *logBuffer) write() {
	defer close(l.wrote)
	var lines []byte
	for range l.some {
		l.mu.Lock()
		lines, l.lines = l.lines, lines[:0]
		dropped, closed := l.dropped, l.closed
		l.dropped = 0
		l.mu.Unlock()
		if dropped > 0 {
			lines = fmt.Appendf(lines, droppedLine, dropped)
		}
		if len(lines) > 0 {
			l.to.Write(lines)
		}
		if closed {
			return
		}
	}
}

// Close writes what is left, and waits for that. When ctx has ended, it waits
// no longer than flushTime, and returns an error if lines are left. Call it
// once, last. A line that comes later is not written, and does no harm.
func (l *logBuffer) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.wake()
	l.mu.Unlock()
	select {
	case <-l.wrote:
		return nil
	case <-ctx.Done(): // we have been told to stop
	}
	select {
	case <-l.wrote:
		return nil
	case <-time.After(flushTime):
		return errNotFlushed
	}
}

// flushTime is how long the last lines may take when we have been told to stop.
const flushTime = time.Second

// errNotFlushed says that the end of the log may be missing.
var errNotFlushed = errors.New("the log did not take its last lines")
