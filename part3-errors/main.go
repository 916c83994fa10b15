// Command part3-errors is Mayhem Mandrill, part 3: errors.
//
// Mayhem Mandrill restarts hosts for whoever asks. In this part it learns to
// fail. A panic is contained, an attempt has a time-out, a failure is tried
// again after a pause, and what can't be done becomes a dead letter with a
// reason. A handler that loses its lease lets go. While the broker is out of
// reach, the service keeps trying, for up to a minute. The broker is still part
// of the program.
//
//	go run ./part3-errors             the service, until Ctrl-C
//	go run ./part3-errors -n 20       the same, for twenty messages
//	go run ./part3-errors lessons     what there is to learn
//	go run ./part3-errors mistake 1   a lesson's mistake
//	go run ./part3-errors fix 1       its fix
//	go test ./part3-errors/...        the tests
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
const part = 3

// lessons are the lessons of this chapter, in order.
var lessons = []lesson{
	lesson01, lesson02, lesson03, lesson04, lesson05, lesson06, lesson07,
	lesson08,
}

// extras are what a test reads after a run.
type extras struct {
	broker *broker
}

func main() {
	ctx := listen(newLog(os.Stdout))
	err := run(ctx, os.Args[1:], os.Stdout)
	if code := status(err); code != 0 {
		// Exit even if stderr blocks.
		time.AfterFunc(time.Second, func() { os.Exit(code) })
		fmt.Fprintln(os.Stderr, err)
		os.Exit(code)
	}
}

// A config holds the values of the flags.
type config struct {
	seed   uint64
	n      int           // messages to publish; 0: no limit
	drain  time.Duration // see Mandrill
	giveUp time.Duration // see Mandrill
	stuck  int           // every nth restart hangs; 0: none
	outage time.Duration // of the broker, after a second; -1 is for ever
}

// run does what the arguments say, and blocks until that is done. It returns a
// usageError if it doesn't understand them.
func run(ctx context.Context, args []string, w io.Writer) (err error) {
	endWithParent()
	out := &output{to: w}
	defer func() { err = errors.Join(err, out.failed()) }()
	var c config
	flags := flag.NewFlagSet("part3-errors", flag.ContinueOnError)
	flags.Uint64Var(&c.seed, "seed", 1, "the same `SEED` gives the same run")
	flags.IntVar(&c.n, "n", 0, "publish `N` messages, then end (0: no limit)")
	flags.DurationVar(&c.drain, "drain", 5*time.Second,
		"when stopped, give the work in progress `TIME` to end")
	flags.DurationVar(&c.giveUp, "give-up", time.Minute,
		"end when the broker has failed for `TIME`")
	flags.IntVar(&c.stuck, "stuck", 0,
		"let every `N`th restart hang, whatever it is told (0: none)")
	flags.Func("outage",
		"let the broker fail for `TIME`, after a second (-1: for ever)",
		func(s string) (err error) {
			if c.outage = -1; s != "-1" {
				c.outage, err = time.ParseDuration(s)
			}
			return err
		})
	words, err := parse(flags, args, out)
	switch {
	case err != nil:
		return err
	case len(words) > 0:
		return command(ctx, out, flags, words)
	case c.n < 0:
		return usageError(fmt.Sprintf("-n %d: want 0 or more messages", c.n))
	case c.drain <= 0 || c.drain > 24*time.Hour:
		return usageError(fmt.Sprintf(
			"-drain %v: want more than 0s, and 24h at most", c.drain))
	case c.giveUp <= 0:
		return usageError(
			fmt.Sprintf("-give-up %v: want more than 0s", c.giveUp))
	case c.stuck < 0:
		return usageError(fmt.Sprintf("-stuck %d: want 0 or more", c.stuck))
	}
	const grace, slack = time.Second, 2 * time.Second
	return inTime(ctx, c.drain+grace+slack, func() error {
		return serve(ctx, out, c)
	})
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

// errConsumerFailed is the cause when the consumer stops the publisher.
var errConsumerFailed = errors.New("the consumer has failed")

// serve runs the service with a publisher that keeps it busy. It returns when
// all n messages are settled, or when the service has stopped because ctx ended
// or the consumer failed. Its last line counts the messages by state.
func serve(ctx context.Context, out io.Writer, c config) error {
	log := newLog(out)
	b := newBroker(log, 2*time.Second, 100)
	if c.outage != 0 {
		b.fail = outage(c.outage)
	}
	save := simulate(log, c.seed, "saved", time.Second)
	restart := simulate(log, c.seed, "restarted", 3*time.Second)
	restart = hanging(unreliable(restart, c.seed), c.stuck, nil) // for ever
	done := &ledger{db: &memoryDatabase{}}
	m := &Mandrill{
		log:     log,
		queue:   b,
		lease:   b.lease,
		save:    done.once("saved", save),
		restart: done.once("restarted", restart),
		drain:   c.drain,
		giveUp:  c.giveUp,
		seed:    c.seed,
	}
	var failed, ran error
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		failed = publish(ctx, b, c.seed, c.n, time.Second/2)
		return failed
	})
	g.Go(func() error {
		if ran = m.Run(ctx); ran != nil {
			return errConsumerFailed // not ran: publish would return it, too
		}
		return nil
	})
	g.Wait() // it returns the first error, and we want both
	is := b.states()
	log.Info("ended", "published", b.count("published"),
		"acked", is[acked], "dead_lettered", is[deadLettered],
		"waiting", is[waiting], "in_flight", is[leased],
		"undelivered", is[undelivered])
	return errors.Join(failed, ran)
}
