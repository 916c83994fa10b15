// Lesson 4.8: supervising a process.
//
// Some work is done by another program. We start it, read what it prints, and
// wait for it. Each of these can go wrong by itself.

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// readInTurn is the mistake. It reads one output to its end, and then the
// other. Meanwhile the other one is not read, and a pipe holds only 64 KiB.
func readInTurn(cmd *exec.Cmd, line func(string)) error {
	stdout, err1 := cmd.StdoutPipe()
	stderr, err2 := cmd.StderrPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return err
	}
	scan(stdout, line)
	scan(stderr, line)
	return cmd.Wait()
}

// waitFirst is the second mistake. As soon as the process has ended, Wait
// closes the pipe and returns. What has not been read by then is lost.
func waitFirst(cmd *exec.Cmd, line func(string)) error {
	out, err := bothOutputs(cmd)
	if err != nil {
		return err
	}
	var reader sync.WaitGroup
	reader.Go(func() { scan(out, line) })
	err = cmd.Wait()
	reader.Wait()
	return err
}

// readToEOF is the third mistake. A process whose outputs are at their end has
// ended, so why wait for it?
func readToEOF(cmd *exec.Cmd, line func(string)) error {
	out, err := bothOutputs(cmd)
	if err != nil {
		return err
	}
	scan(out, line)
	return nil
}

// scanThenWait is the fourth mistake. The order is right. But a Scanner stops
// at a line of more than 64 KiB, and then nothing is read any more.
func scanThenWait(cmd *exec.Cmd, line func(string)) error {
	out, err := bothOutputs(cmd)
	if err != nil {
		return err
	}
	scan(out, line)
	return cmd.Wait()
}

// letExecRead is the fix. Run copies both outputs to a writer, in a goroutine
// of its own, and waits for that as well.
func letExecRead(cmd *exec.Cmd, line func(string)) error {
	out := &lineWriter{line: line}
	cmd.Stdout, cmd.Stderr = out, out // exec never calls Write concurrently
	defer out.end()
	return cmd.Run()
}

// A lineWriter calls line for each line that is written to it, or for a part of
// one that is too long to keep. end is for the last one, if no newline ends it.
type lineWriter struct {
	line func(string)
	rest []byte
}

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found {
			if len(w.rest) > tooLong {
				w.end()
			}
			return len(p), nil
		}
		w.line(string(line))
		w.rest = rest
	}
}

func (w *lineWriter) end() {
	if len(w.rest) > 0 {
		w.line(string(w.rest))
		w.rest = nil
	}
}

// tooLong is how much of a line we keep, in bytes.
const tooLong = 1 << 20

// stopGently lets a command end by itself when its context ends: it gets TERM,
// and is killed if it runs for longer than grace after that.
//
// grace has a second meaning. When the process has ended, for whatever reason,
// its outputs are read for grace at most, because a process that it has started
// may hold them open. What has not been read by then is lost, and if the
// process itself has succeeded, Run returns exec.ErrWaitDelay. So grace must be
// longer than a slow reader needs.
func stopGently(cmd *exec.Cmd, grace time.Duration) {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
}

// A process that ran for less than early has failed early. It is started again
// after up to tooOften failures that were early.
const (
	early    = 10 * time.Second
	tooOften = 5
)

// errTooEarly says that a process can't be kept running.
var errTooEarly = errors.New("it has failed too early, too often")

// afterExit is the restart policy, a pure function of the failures counted so
// far, of how long the process ran this time, and of its error. A long run
// resets the count. afterExit returns the new count, and the pause before the
// process is started again, or an error if it shouldn't be.
func afterExit(
	failures int, ran time.Duration, failed error,
) (now int, pause time.Duration, err error) {
	if ran >= early {
		failures = 0
	}
	if failures++; failures > tooOften {
		return failures, 0, errors.Join(errTooEarly, failed)
	}
	return failures, time.Second << (failures - 1), nil
}

// monitor keeps a process running until it ends without an error, until the
// policy says that this makes no sense, or until ctx ends.
func monitor(ctx context.Context, run func(context.Context) error) error {
	for failures := 0; ; {
		began := time.Now()
		failed := run(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		} else if failed == nil {
			return nil
		}
		var pause time.Duration
		var err error
		failures, pause, err = afterExit(failures, time.Since(began), failed)
		if err == nil {
			err = sleep(ctx, pause)
		}
		if err != nil {
			return err
		}
	}
}

// bothOutputs starts a command and returns both of its outputs, as one.
func bothOutputs(cmd *exec.Cmd) (io.Reader, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	return out, cmd.Start()
}

// scan calls line for each line that it reads.
func scan(from io.Reader, line func(string)) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		line(lines.Text())
	}
}

type runCommandFunc func(cmd *exec.Cmd, line func(string)) error

// thousandLines has a worker print 1000 lines as fast as it can.
func thousandLines(
	ctx context.Context, s *scene, run runCommandFunc,
) verdict {
	return supervise(ctx, s, run, "prints", 0)
}

// slowReader does the same. We need 100ms for every fortieth line.
func slowReader(ctx context.Context, s *scene, run runCommandFunc) verdict {
	return supervise(ctx, s, run, "prints", 100*time.Millisecond)
}

// oneLongLine has a worker print a line of 200,000 characters first, and then
// 999 short ones.
func oneLongLine(ctx context.Context, s *scene, run runCommandFunc) verdict {
	return supervise(ctx, s, run, "prints a long line", 0)
}

// supervise runs a worker. If nothing has come from it for two seconds, the
// worker is killed.
func supervise(
	ctx context.Context, s *scene, run runCommandFunc, what string,
	pause time.Duration,
) verdict {
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	cmd, err := newWorker(ctx, what)
	if err != nil {
		s.log.Error("not started", "err", err)
		return verdict{}
	}
	const silence = 2 * time.Second
	reader := "fast"
	if pause > 0 {
		reader = "slow"
	}
	s.log.Info("starting", "worker", what, "reader", reader,
		"kill_after", silence)
	silent := time.AfterFunc(silence, func() {
		s.log.Info("killing the worker")
		kill()
	})
	defer silent.Stop()
	var lines atomic.Int64
	killedAt := int64(-1)
	cmd.Cancel = func() error {
		killedAt = lines.Load()
		return cmd.Process.Kill()
	}
	err = run(cmd, func(string) {
		silent.Reset(silence)
		if lines.Add(1)%40 == 0 {
			time.Sleep(pause)
		}
	})
	n := lines.Load()
	s.log.Info("returned", "err", err)
	s.worker = cmd
	s.release = func() { cmd.Wait() } // whatever has become of it
	switch {
	case killedAt >= 0: // and run has waited for Cancel
		return verdict{
			fmt.Sprintf("%d of 1000 lines, and no end", killedAt), true}
	case cmd.ProcessState == nil:
		return verdict{fmt.Sprintf("%d of 1000 lines, a zombie", n), true}
	case n < 1000:
		return verdict{fmt.Sprintf("~%d of 1000 lines", n), true}
	}
	return verdict{text: fmt.Sprintf("%d of 1000 lines, %v", n,
		cmd.ProcessState)}
}

var lesson08 = lesson{
	number: 8, title: "supervising a process (optional)",
	watch: "how many lines are read, and whether the process ends",
	mistakes: inRealTime(slices.Concat(
		runs(thousandLines, readInTurn),
		runs(slowReader, waitFirst),
		runs(thousandLines, readToEOF),
		runs(oneLongLine, scanThenWait))),
	fix: inRealTime(slices.Concat(
		runs(thousandLines, letExecRead),
		runs(slowReader, letExecRead),
		runs(oneLongLine, letExecRead))),
}
