// Command part0-setup is Mayhem Mandrill, part 0: setup.
//
// Mayhem Mandrill restarts hosts for whoever asks. In this part it is a
// publisher and a consumer with a channel between them. It starts what it
// needs, waits for it, notices errors, cleans up, and exits in one place. It
// still handles one message at a time, and Ctrl-C kills it in the middle of a
// message.
//
//	go run ./part0-setup             the service, until Ctrl-C
//	go run ./part0-setup -n 20       the same, for twenty messages
//	go run ./part0-setup lessons     what there is to learn
//	go run ./part0-setup mistake 1   a lesson's mistake
//	go run ./part0-setup fix 1       its fix
//	go test ./part0-setup/...        the tests
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
const part = 0

// lessons are the lessons of this chapter, in order.
var lessons = []lesson{lesson01, lesson02, lesson03, lesson04}

// extras are what a test reads after a run.
type extras struct {
	queue chan Message
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
	flags := flag.NewFlagSet("part0-setup", flag.ContinueOnError)
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
// all n messages are handled, or until one of the two fails: then it stops the
// other one and returns why.
func serve(ctx context.Context, out io.Writer, c config) error {
	log := newLog(out)
	queue := make(chan Message, 100) // closed by publish
	m := &Mandrill{
		log:     log,
		queue:   queue,
		restart: simulate(log, c.seed, "restarted", time.Second/2),
	}
	defer func() { log.Info("ended", "handled", m.handled) }()
	return runBoth(ctx, func(ctx context.Context) error {
		return publish(ctx, log, queue, c.seed, c.n, time.Second/2)
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
