// Lesson 7.4: asynchronous, and lossy.
//
// Somebody writes the log in a goroutine of its own, so that no handler waits
// for the terminal. Then a burst of lines comes, and then the service exits.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// keepAll is a mistake: it has room for any number of lines.
func keepAll(w io.Writer) lineLog { return newLogBuffer(w, 1<<40) }

// waitForRoom is a mistake: when its channel is full, whoever logs waits for
// the terminal again.
func waitForRoom(w io.Writer) lineLog {
	l := &channelLog{lines: make(chan []byte, 100)}
	l.writer.Go(func() { l.writeTo(w) })
	return l
}

// dropQuietly is a mistake: when its channel is full, it drops lines and says
// nothing. Nor does it wait for the last ones.
func dropQuietly(w io.Writer) lineLog {
	l := &channelLog{lines: make(chan []byte, 100), drops: true}
	go l.writeTo(w)
	return l
}

// A channelLog hands its lines to a goroutine, through a channel.
type channelLog struct {
	lines  chan []byte
	drops  bool
	writer sync.WaitGroup
}

// Write implements io.Writer.
func (l *channelLog) Write(line []byte) (int, error) {
	line = append([]byte(nil), line...) // slog uses its own again
	if !l.drops {
		l.lines <- line
		return len(line), nil
	}
	select {
	case l.lines <- line:
	default:
	}
	return len(line), nil
}

// writeTo writes the lines until the channel is closed.
func (l *channelLog) writeTo(w io.Writer) {
	for line := range l.lines {
		w.Write(line)
	}
}

// Close says that there are no more lines, and waits for the writer, if anyone
// does.
func (l *channelLog) Close(context.Context) error {
	close(l.lines)
	l.writer.Wait()
	return nil
}

// boundAndCount is the fix: the buffer of the service, with less room, so that
// it is full within this lesson.
func boundAndCount(w io.Writer) lineLog { return newLogBuffer(w, 8<<10) }

// A lineLog takes lines and writes them later. Close is called once, last.
type lineLog interface {
	io.Writer
	Close(context.Context) error
}

// A slowTerminal needs ten milliseconds for each write.
type slowTerminal struct {
	mu      sync.Mutex // never held while waiting
	lines   int
	dropped int // so many lines, as the log says
	most    int // bytes in one write
}

// Write implements io.Writer.
func (t *slowTerminal) Write(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.most = max(t.most, len(p))
	for line := range strings.Lines(string(p)) {
		var dropped int
		if n, _ := fmt.Sscanf(line, droppedLine, &dropped); n == 1 {
			t.dropped += dropped
		} else {
			t.lines++
		}
	}
	return len(p), nil
}

// logBurst logs a line, and then a burst of 399, as fast as it can. Then the
// service exits: whatever has not been written when Close returns is lost.
// Something that was left behind logs once more.
func logBurst(
	ctx context.Context, s *scene, open func(io.Writer) lineLog,
) verdict {
	const lines = 400
	line := []byte("level=INFO msg=restarted id=m7 host=cattle-x7f2 took=2s\n")
	var t slowTerminal
	l := open(&t)
	l.Write(line)
	time.Sleep(5 * time.Millisecond) // it is being written
	begun := time.Now()
	for range lines - 1 {
		l.Write(line)
	}
	waited := time.Since(begun).Round(100 * time.Millisecond)
	l.Close(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	lost := lines - t.lines - t.dropped
	s.log.Info("logged", "lines", lines, "waited", waited)
	s.log.Info("closed", "written", t.lines, "dropped", t.dropped, "lost", lost)
	s.log.Info("largest write", "bytes", t.most)
	err := contain(func() error {
		_, err := l.Write(line)
		return err
	})
	s.log.Info("logged after that", "err", err)
	_, panicked := errors.AsType[*panicError](err)
	s.release = func() { time.Sleep(1100 * time.Millisecond) } // for the rest
	return verdict{
		fmt.Sprintf("waited %v; %d written, %d dropped, %d lost; "+
			"wrote %d KB at once",
			waited, t.lines, t.dropped, lost, t.most>>10),
		waited > 0 || lost > 0 || t.most>>10 > 8 || panicked,
	}
}

var lesson04 = lesson{
	number: 4, title: "asynchronous, and lossy",
	watch:    "what the handler waits for, and what becomes of 400 lines",
	mistakes: runs(logBurst, keepAll, waitForRoom, dropQuietly),
	fix:      runs(logBurst, boundAndCount),
}
