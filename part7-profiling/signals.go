package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// listen returns a context that ends with the first signal that asks us to
// stop. Its cause names the signal. Call it before anything else: until then a
// signal kills.
func listen(log *slog.Logger) context.Context {
	signals := []os.Signal{syscall.SIGTERM}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if !signal.Ignored(sig) { // as under nohup, or with & in a script
			signals = append(signals, sig)
		}
	}
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, signals...)
	ctx, cancel := context.WithCancelCause(context.Background())
	go relay(log, heard, cancel, func() { signal.Stop(heard) })
	return ctx
}

// echo is how long a second signal is taken for an echo of the first. One
// request to stop often arrives twice: GNU timeout signals its child and then
// the child's process group, and when a terminal is closed, HUP comes from the
// kernel and from the shell.
const echo = 100 * time.Millisecond

// relay waits for a signal and cancels, with the signal as the cause. 100ms
// later it calls stop, so the next signal kills the process. Then it logs that.
// If no signal comes, its goroutine lasts as long as the process.
func relay(
	log *slog.Logger, heard <-chan os.Signal,
	cancel context.CancelCauseFunc, stop func(),
) {
	cancel(fmt.Errorf("%v signal received", <-heard))
	time.Sleep(echo)
	stop()
	log.Info("a second signal kills")
}

// errOverdue says that the service did not stop within its budget. Something
// that should not block does: a log whose reader has stopped reading, say.
var errOverdue = errors.New("still not stopped: exiting anyway")

// inTime calls f and returns what it returns, unless it takes longer than the
// budget after ctx has ended. Then it returns errOverdue, and f is left behind.
func inTime(ctx context.Context, budget time.Duration, f func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(budget):
		return errOverdue
	}
}
