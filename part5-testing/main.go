// Command part5-testing is Mayhem Mandrill, part 5: testing.
//
// Mayhem Mandrill restarts hosts for whoever asks. The service is that of part
// 4, without a change. This part is about its tests: how to prove what parts 1
// to 4 promise, in virtual time where that is possible. The mistakes are tests,
// and so are the fixes.
//
//	go run ./part5-testing             the service, until Ctrl-C
//	go run ./part5-testing -n 20       the same, for twenty messages
//	go run ./part5-testing lessons     what there is to learn
//	go run ./part5-testing mistake 1   a lesson's mistake
//	go run ./part5-testing fix 1       its fix
//	go test ./part5-testing/...        the tests
package main

//go:generate go test -race -run Recorded -update .
//go:generate go tool -modfile=../.ci/tools.mod embedmd -w README.md

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// part is the number of this chapter.
const part = 5

// lessons are the lessons of this chapter, in order.
var lessons = []lesson{
	lesson01, lesson02, lesson03, lesson04, lesson05, lesson06, lesson07,
}

// extras are what a test reads after a run.
type extras struct{}

func main() {
	ctx := listen(newLog(os.Stdout))
	err := run(ctx, os.Args[1:], os.Stdout)
	plainTests.remove()
	mutatedTests.remove()
	if code := status(err); code != 0 {
		where := stuck()
		// Exit even if stderr blocks.
		time.AfterFunc(time.Second, func() { os.Exit(code) })
		fmt.Fprint(os.Stderr, where)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(code)
	}
}

// A config holds the values of the flags.
type config struct {
	seed     uint64
	n        int           // messages to publish; 0: no limit
	drain    time.Duration // see Mandrill
	giveUp   time.Duration // see Mandrill
	stuck    int           // every nth restart hangs; 0: none
	speed    float64       // divides the times of work, pauses and leases
	data     string        // the folder of our own server; none: temporary
	nats     string        // servers to use instead of our own
	replicas int           // of streams and bucket
}

// scale returns how long something takes at the speed that was asked for.
func (c config) scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.speed)
}

// run does what the arguments say, and blocks until that is done. It returns a
// usageError if it doesn't understand them.
func run(ctx context.Context, args []string, w io.Writer) (err error) {
	endWithParent()
	out := &output{to: w}
	defer func() { err = errors.Join(err, out.failed()) }()
	var c config
	flags := flag.NewFlagSet("part5-testing", flag.ContinueOnError)
	flags.Uint64Var(&c.seed, "seed", 1, "the same `SEED` gives the same work")
	flags.IntVar(&c.n, "n", 0, "publish `N` messages, then end (0: no limit)")
	flags.DurationVar(&c.drain, "drain", 5*time.Second,
		"when stopped, give the work in progress `TIME` to end")
	flags.DurationVar(&c.giveUp, "give-up", time.Minute,
		"end when the broker has failed for `TIME`")
	flags.IntVar(&c.stuck, "stuck", 0,
		"let every `N`th restart hang, whatever it is told (0: none)")
	flags.Float64Var(&c.speed, "speed", 1,
		"divide the times of work, pauses and leases by `N`")
	flags.StringVar(&c.data, "data", "",
		"keep everything in the folder `DIR` (default a temporary one)")
	flags.StringVar(&c.nats, "nats", "",
		"use the servers at `URL[,URL]` (default one in this process)")
	flags.IntVar(&c.replicas, "replicas", 1,
		"have a cluster keep `N` replicas of everything")
	words, err := parse(flags, args, out)
	if strings.Contains(strings.Join(words, " ")+fmt.Sprint(err), "://") {
		return errStrayURL // don't show it
	}
	switch {
	case err != nil:
		return err
	case len(words) > 1 && c.seed != 1:
		return usageError("-seed is for the service; the tests of a lesson " +
			"have seeds of their own")
	case len(words) > 0:
		return command(ctx, out, flags, words)
	}
	if err := c.check(); err != nil {
		return err
	}
	const grace, slack = time.Second, 5 * time.Second
	return inTime(ctx, c.drain+grace+slack, func() error {
		return serve(ctx, out, c)
	})
}

// errStrayURL does not show the URL, because it may hold a password.
const errStrayURL = usageError("an address of a server goes right after -nats")

// check returns a usageError if a flag has a value that makes no sense.
func (c config) check() error {
	switch {
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
	case !(c.speed >= 0.01 && c.speed <= 100): // not a number is neither
		return usageError(
			fmt.Sprintf("-speed %v: want 0.01 to 100", c.speed))
	case c.data != "" && c.nats != "":
		return usageError("-data and -nats: want one of them, because " +
			"-data is for our own server")
	case c.replicas < 1 || c.replicas > 5:
		return usageError(
			fmt.Sprintf("-replicas %d: want 1 to 5", c.replicas))
	case c.replicas > 1 && c.nats == "":
		return usageError("-replicas: want -nats and a cluster")
	}
	return nil
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

// leaseTime is the lease of a message. It has to outlast the election of a new
// leader in a cluster, which may take five seconds. With -speed it is shorter,
// but not shorter than leastLease, which a slow machine can keep.
const (
	leaseTime  = 10 * time.Second
	leastLease = time.Second
)

// room is how many messages the stream holds before a publisher has to wait.
const room = 100

// serve connects to the broker and runs the service. It returns when all n
// messages are settled, or when the service has stopped because ctx ended or
// something failed. Its last line counts the messages by state.
func serve(ctx context.Context, out io.Writer, c config) error {
	log := newLog(out)
	nc, stop, err := connect(log, c.nats, c.data)
	if err != nil {
		return err
	}
	defer stop()
	lease := max(c.scale(leaseTime), leastLease)
	b, err := openBroker(ctx, log, nc, lease, room, c.replicas)
	if err != nil {
		return notReady(ctx, log, err)
	}
	db, err := openBucket(ctx, log, b.js, c.replicas)
	if err != nil {
		return notReady(ctx, log, err)
	}
	found, err := b.left(ctx)
	if err != nil {
		return notReady(ctx, log, err)
	}
	log.Info("ready", "in_stream", found)
	failed := work(ctx, log, c, b, b.lease, db)
	ctx, cancel := settling(ctx, time.Second)
	defer cancel()
	left := any("unknown")
	if n, err := b.left(ctx); err == nil {
		left = n
	}
	log.Info("ended", "messages", int64(found)+b.published.Load(),
		"acked", b.acked.Load(), "dead_lettered", b.deadLettered.Load(),
		"left", left)
	return failed
}

// notReady returns why the service can't begin. To be stopped before it has
// begun is no failure: it only logs that.
func notReady(ctx context.Context, log *slog.Logger, err error) error {
	if err = unlessStopped(ctx, err); err == nil {
		log.Info("stopped before it was ready", "cause", context.Cause(ctx))
	}
	return err
}

// A store holds what outlives the process, apart from the messages: see bucket.
type store interface {
	database
	counter(what string) counter
	save(ctx context.Context, msg Message) error
	next(ctx context.Context) (int, error)
}

// errConsumerFailed is the cause when the consumer stops the publisher.
var errConsumerFailed = errors.New("the consumer has failed")

// work runs the service with a publisher that keeps it busy. It returns when
// both have ended.
func work(
	ctx context.Context, log *slog.Logger, c config, q queue,
	lease time.Duration, db store,
) error {
	restart := simulate(log, c.seed, "restarted", c.scale(3*time.Second))
	restart = hanging(unreliable(restart, c.seed), c.stuck, nil) // for ever
	restart = (&ledger{db: db}).once("restarted", restart)
	m := &Mandrill{
		log:   log,
		queue: q,
		lease: lease,
		save:  db.save,
		restart: func(ctx context.Context, msg Message) error {
			// The ledger knows only the ID, so first see that it is ours.
			if err := db.save(ctx, msg); err != nil {
				return err
			}
			return restart(ctx, msg)
		},
		drain:      c.drain,
		pause:      c.scale(time.Second),
		giveUp:     c.giveUp,
		seed:       c.seed,
		failures:   db.counter("failed"),
		deliveries: db.counter("delivered"),
	}
	var failed, ran error
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		failed = publishNumbered(
			ctx, q, db.next, c.seed, c.n, c.scale(time.Second/2))
		return failed
	})
	g.Go(func() error {
		if ran = m.Run(ctx); ran != nil {
			return errConsumerFailed // not ran: publish would return it, too
		}
		return nil
	})
	g.Wait() // it returns the first error, and we want both
	return errors.Join(failed, ran)
}
