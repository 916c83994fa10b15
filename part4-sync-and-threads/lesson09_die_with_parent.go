// Lesson 4.9: die with your parent.
//
// A supervisor that is killed runs none of its own code any more, so it can't
// end the processes that it has started.

package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// startPlainly is the mistake. It starts a worker, and plans to stop it before
// it exits.
func startPlainly(ctx context.Context, what string) (*exec.Cmd, error) {
	cmd, err := newWorker(ctx, what)
	if err != nil {
		return nil, err
	}
	cmd.Stdout = os.Stdout
	return cmd, cmd.Start()
}

// lendInput is the fix if the worker cooperates, and exits when its input ends.
// We give it a pipe as its input, and never write to it. When we die, the
// kernel closes our end of the pipe.
func lendInput(ctx context.Context, what string) (*exec.Cmd, error) {
	cmd, err := newWorker(ctx, what+whileInput)
	if err != nil {
		return nil, err
	}
	cmd.Stdout = os.Stdout
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return cmd, cmd.Start()
}

// startOnAnyThread is the second mistake. On Linux the kernel can kill a worker
// when its parent dies. To the kernel, the parent is the thread that started
// the worker, so we lock that thread. But a goroutine that ends while it holds
// the lock takes the thread with it.
func startOnAnyThread(ctx context.Context, what string) (*exec.Cmd, error) {
	cmd, err := newWorker(ctx, what)
	if err != nil {
		return nil, err
	}
	cmd.Stdout = os.Stdout
	killWithThread(cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		started <- cmd.Start()
	}()
	return cmd, <-started
}

// startOnOurThread is the fix. The worker is started on a thread that lasts as
// long as the process, because its goroutine never ends. (For more workers, one
// such goroutine is enough.)
func startOnOurThread(ctx context.Context, what string) (*exec.Cmd, error) {
	cmd, err := newWorker(ctx, what)
	if err != nil {
		return nil, err
	}
	cmd.Stdout = os.Stdout
	killWithThread(cmd)
	started, calls := make(chan error), make(chan func())
	go onOneThread(calls)
	calls <- func() { started <- cmd.Start() }
	return cmd, <-started
}

type startFunc func(ctx context.Context, what string) (*exec.Cmd, error)

// parentIsKilled has a worker that works for two seconds. Its parent waits for
// it, and is killed when it has begun.
func parentIsKilled(
	ctx context.Context, s *scene, start startFunc,
) verdict {
	return startAndWait(ctx, s, start, "works")
}

// parentLives has such a worker, and nobody kills its parent.
func parentLives(ctx context.Context, s *scene, start startFunc) verdict {
	return startAndWait(ctx, s, start, "works quietly")
}

func startAndWait(
	ctx context.Context, s *scene, start startFunc, what string,
) verdict {
	cmd, err := start(ctx, what)
	if err != nil {
		s.log.Error("not started", "err", err)
		return verdict{}
	}
	err = cmd.Wait()
	s.log.Info("waited", "err", err)
	return verdict{}
}

// countOrphans judges by what the worker has printed. The worker shares its
// parent's output, so that output ends only when both have ended.
func countOrphans(endings []ending) verdict {
	e := endings[0]
	switch {
	case !strings.Contains(e.printed, "worker: working") || e.code != -1:
		return verdict{}
	case strings.Contains(e.printed, "worker: done"):
		return verdict{"the parent was killed, the worker went on", true}
	}
	return verdict{text: "the parent was killed, and so the worker ended"}
}

// countKilled judges by what the parent has found.
func countKilled(endings []ending) verdict {
	e := endings[0]
	if strings.Contains(e.printed, `msg=waited err="signal: killed"`) {
		return verdict{"the parent lived, the kernel killed the worker", true}
	} else if !strings.Contains(e.printed, "worker: done") {
		return verdict{}
	}
	return verdict{text: "the parent lived, and the worker could end"}
}

var lesson09 = lesson{
	number: 9, title: "die with your parent (optional)",
	watch: "who is killed, and what becomes of the other",
	mistakes: slices.Concat(
		inChild(parentKilled, runs(parentIsKilled, startPlainly)),
		inChild(parentKeptOnLinux, runs(parentLives, startOnAnyThread))),
	fix: slices.Concat(
		inChild(parentKilled, runs(parentIsKilled, lendInput)),
		inChild(parentKept, runs(parentLives, lendInput)),
		inChild(parentKilledOnLinux, runs(parentIsKilled, startOnOurThread)),
		inChild(parentKeptOnLinux, runs(parentLives, startOnOurThread))),
}

// The parent is a child of ours.
var (
	parentKilled = child{
		verdict: countOrphans, onLine: killAtWork,
		gets: "kill -9 when its worker has begun",
	}
	parentKilledOnLinux = child{
		verdict: countOrphans, onLine: killAtWork,
		gets: "kill -9 when its worker has begun", only: "linux",
	}
	parentKept        = child{verdict: countKilled}
	parentKeptOnLinux = child{verdict: countKilled, only: "linux"}
)

// killAtWork kills the parent when its worker has begun.
func killAtWork(line string, p *os.Process) {
	if strings.Contains(line, "worker: working") {
		p.Kill()
	}
}

// The thread that a process begins with never ends. A child of ours keeps it
// for its main function, so that no goroutine in the scene can have it.
func init() {
	if os.Getenv(childEnv) != "" {
		runtime.LockOSThread()
	}
}
