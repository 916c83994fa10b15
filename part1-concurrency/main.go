// Command part1-concurrency is Mayhem Mandrill, part 1: true concurrency.
//
// Mayhem Mandrill restarts hosts for whoever asks. In this part it learns to do
// more than one thing at a time. It takes a message when it has a free slot,
// saves it and restarts its host side by side, keeps the lease meanwhile, and
// acks after both. It still ignores errors and has no shutdown.
//
//	go run ./part1-concurrency             the service, until Ctrl-C
//	go run ./part1-concurrency -n 20       the same, for twenty messages
//	go run ./part1-concurrency lessons     what there is to learn
//	go run ./part1-concurrency mistake 1   a lesson's mistake
//	go run ./part1-concurrency fix 1       its fix
//	go test ./part1-concurrency/...        the tests
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
	"time"

	"golang.org/x/sync/errgroup"
)

// part is the number of this chapter.
const part = 1

// lessons are the lessons of this chapter, in order.
var lessons = []lesson{
	lesson01, lesson02, lesson03, lesson04, lesson05, lesson06, lesson07,
	lesson08, lesson09,
}

// extras are what a test reads after a run.
type extras struct {
	queue  chan Message
	broker *broker
}

func main() {
	err := run(context.Background(), os.Args[1:], os.Stdout)
	if code := status(err); code != 0 {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(code)
	}
}

// A config holds the values of the flags.
type config struct {
	seed uint64
	n    int // messages to publish; 0: no limit
}

// run does what the arguments say, and blocks until that is done. It returns a
// usageError if it doesn't understand them.
func run(ctx context.Context, args []string, w io.Writer) (err error) {
	endWithParent()
	out := &output{to: w}
	defer func() { err = errors.Join(err, out.failed()) }()
	var c config
	flags := flag.NewFlagSet("part1-concurrency", flag.ContinueOnError)
	flags.Uint64Var(&c.seed, "seed", 1, "the same `SEED` gives the same run")
	flags.IntVar(&c.n, "n", 0, "publish `N` messages, then end (0: no limit)")
	words, err := parse(flags, args, out)
	switch {
	case err != nil:
		return err
	case len(words) > 0:
		return command(ctx, out, flags, words)
	case c.n < 0:
		return usageError(fmt.Sprintf("-n %d: want 0 or more messages", c.n))
	}
	return serve(ctx, out, c)
}

// newLog returns the log of the service. Each line has the time of day.
func newLog(out io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.String(a.Key, a.Value.Time().Format("15:04:05.000"))
			}
			return a
		},
	}))
}

// serve runs the service with a publisher that keeps it busy. It blocks until
// all n messages are settled, or until one of the two fails: then it stops the
// other one and returns why.
func serve(ctx context.Context, out io.Writer, c config) error {
	log := newLog(out)
	b := newBroker(log, 2*time.Second, 100)
	m := &Mandrill{
		queue:   b,
		lease:   b.lease,
		save:    simulate(log, c.seed, "saved", time.Second),
		restart: simulate(log, c.seed, "restarted", 3*time.Second),
	}
	defer func() {
		log.Info("ended", "published", b.count("published"),
			"delivered", b.count("delivered"), "acked", b.count("acked"))
	}()
	return runBoth(ctx, func(ctx context.Context) error {
		return publish(ctx, b, c.seed, c.n, time.Second/2)
	}, m.Run)
}

// runBoth blocks until both functions have returned. If one of them fails, it
// cancels the context of the other, with the error as the cause, and returns
// that error.
func runBoth(
	ctx context.Context, publish, consume func(context.Context) error,
) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return publish(ctx) })
	g.Go(func() error { return consume(ctx) })
	return g.Wait()
}
