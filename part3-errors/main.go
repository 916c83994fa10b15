// Command part3-errors is Mayhem Mandrill, part 3: errors.
//
// Mayhem Mandrill restarts hosts for whoever asks. In this part it learns to
// fail: a panic is contained, an attempt has a time-out, a failure is tried
// again after a pause, and what nobody can do becomes a dead letter with a
// reason. Who loses a lease lets go, and what is delivered twice is done once.
// It still talks only to itself.
//
//	go run ./part3-errors             the service, until Ctrl-C
//	go run ./part3-errors -n 20       the same, for twenty messages
//	go run ./part3-errors lessons     what there is to learn
//	go run ./part3-errors mistake 1   a lesson's mistake
//	go run ./part3-errors fix 1       and its fix
//	go test ./part3-errors/...        the proofs
package main

//go:generate go test -race -run TestRecordedOutputs -update .
//go:generate go tool -modfile=../.ci/tools.mod embedmd -w README.md

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// part is the number of this chapter.
const part = 3

// lessons are the lessons of this chapter, in order.
var lessons = []lesson{
	lesson01, lesson02, lesson03, lesson04, lesson05, lesson06, lesson07,
}

// props are what an act leaves on its stage for the proof.
type props struct {
	broker *broker
}

func main() {
	ctx, stop := listen()
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if code := status(err); code != 0 {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(code)
	}
}

// listen returns a context that ends with the first signal that asks us to
// stop; its cause names the signal. A second signal then kills us, as it would
// without all this. Call stop when there is nothing left to stop.
func listen() (ctx context.Context, stop func()) {
	signals := []os.Signal{syscall.SIGTERM}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if !signal.Ignored(sig) { // as HUP is under nohup: leave it so
			signals = append(signals, sig)
		}
	}
	heard, stop := signal.NotifyContext(context.Background(), signals...)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { // until the signal, or stop
		<-heard.Done()
		stop()                       // before anybody hears of the first,
		cancel(context.Cause(heard)) // or the second may be swallowed
	}()
	return ctx, stop
}

// run does what the arguments say, and blocks until that is done. It returns a
// usageError if they say nothing that it knows.
func run(ctx context.Context, args []string, out io.Writer) error {
	endWithParent()
	flags := flag.NewFlagSet("part3-errors", flag.ContinueOnError)
	n := flags.Int("n", 0, "publish `N` messages, then end (0: go on)")
	seed := flags.Uint64("seed", 1, "the same `SEED` makes the same run")
	drain := flags.Duration("drain", 5*time.Second,
		"when stopped, give the work in flight `TIME` to end")
	stuck := flags.Int("stuck", 0,
		"let every `N`th restart hang, whatever it is told (0: none)")
	words, err := parse(flags, args, out)
	switch {
	case err != nil:
		return err
	case *n < 0:
		return usageError(fmt.Sprintf("-n %d: want 0 or more messages", *n))
	case *drain <= 0:
		return usageError(fmt.Sprintf("-drain %v: want more than 0s", *drain))
	case *stuck < 0:
		return usageError(fmt.Sprintf("-stuck %d: want 0 or more", *stuck))
	case len(words) > 0:
		return command(ctx, out, *seed, words)
	}
	return serve(ctx, out, *seed, *n, *drain, *stuck)
}

// serve runs the service with a publisher that keeps it busy. It blocks until
// all n messages are settled, or ctx has ended and the service has stopped.
func serve(
	ctx context.Context, out io.Writer,
	seed uint64, n int, drain time.Duration, stuck int,
) error {
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.String(a.Key, a.Value.Time().Format("15:04:05.000"))
			}
			return a
		},
	}))
	b := newBroker(log, 2*time.Second, 100)
	save := simulate(log, seed, "saved", time.Second)
	restart := simulate(log, seed, "restarted", 3*time.Second)
	restart = hanging(unreliable(restart, seed), stuck, nil) // for ever
	var done ledger
	m := &Mandrill{
		log:     log,
		broker:  b,
		save:    done.once("saved", save),
		restart: done.once("restarted", restart),
		slots:   8,
		drain:   drain,
		seed:    seed,
	}
	var failed, ran error
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		failed = publish(ctx, b, seed, n, time.Second/2)
		return failed
	})
	g.Go(func() error {
		ran = m.Run(ctx)
		return ran
	})
	g.Wait() // it returns the first error; we want both
	log.Info("ended", "published", b.count("published"),
		"acked", b.count("acked"), "dead_lettered", b.count("dead-lettered"),
		"held", b.holds())
	return errors.Join(failed, ran)
}
