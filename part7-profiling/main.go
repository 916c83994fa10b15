// Command part7-profiling is Mayhem Mandrill, part 7: profiling.
//
// Mayhem Mandrill restarts hosts for whoever asks. In this part we measure it,
// and finish it: it keeps its leases without goroutines, asks for as many
// messages as it has free slots, has numbers for its operator (-debug), a log
// that nobody waits for, a CPU profile (-cpuprofile) and a load test (-load).
//
//	go run ./part7-profiling             the service, until Ctrl-C
//	go run ./part7-profiling -n 20       the same, for twenty messages
//	go run ./part7-profiling lessons     what there is to learn
//	go run ./part7-profiling mistake 1   a lesson's mistake
//	go run ./part7-profiling fix 1       its fix
//	go test ./part7-profiling/...        the tests
package main

//go:generate go test -run Recorded|PrintsWhere -update .
//go:generate go tool -modfile=../.ci/tools.mod embedmd -w README.md

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// part is the number of this chapter.
const part = 7

// lessons are the lessons of this chapter, in order.
var lessons = []lesson{
	lesson01, lesson02, lesson03, lesson04, lesson05, lesson06,
}

// extras are what a test reads after a run.
type extras struct{}

func main() {
	// With this setting, a dump shows each goroutine's labels. A setting in the
	// environment comes later in the list, so it wins.
	os.Setenv("GODEBUG", "tracebacklabels=1,"+os.Getenv("GODEBUG"))
	ctx := listen(newLog(os.Stdout, slog.LevelInfo))
	err := run(ctx, os.Args[1:], os.Stdout)
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
	debug    string        // the address of the debug pages; none: no pages
	traces   string        // the folder for snapshots; none: no recorder
	profile  string        // the file for the CPU profile; none: no profile
	load     int           // messages, as fast as they go; 0: as n says
}

// scale returns how long something takes at the speed that was asked for.
func (c config) scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.speed)
}

// level returns from which level on the service logs. With -load, the lines
// about each message would be most of the load.
func (c config) level() slog.Level {
	if c.load > 0 {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// run does what the arguments say, and blocks until that is done. It returns a
// usageError if it doesn't understand them.
func run(ctx context.Context, args []string, w io.Writer) (err error) {
	endWithParent()
	out := &output{to: w}
	defer func() { err = errors.Join(err, out.failed()) }()
	var c config
	flags := flag.NewFlagSet("part7-profiling", flag.ContinueOnError)
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
	flags.StringVar(&c.debug, "debug", "",
		"serve the debug pages at `ADDR`, 127.0.0.1:6060 for example")
	flags.StringVar(&c.traces, "traces", "",
		"when a handler is stuck, write a trace to the folder `DIR`")
	flags.StringVar(&c.profile, "cpuprofile", "",
		"write a CPU profile to `FILE`")
	flags.IntVar(&c.load, "load", 0,
		"publish `N` messages as fast as they go, with no work to do,\n"+
			"then end; report each second")
	words, err := parse(flags, args, out)
	if strings.Contains(strings.Join(words, " ")+fmt.Sprint(err), "://") {
		return errStrayURL // don't show it
	}
	switch {
	case err != nil:
		return err
	case len(words) > 0:
		return command(ctx, out, flags, words)
	}
	if err := c.check(); err != nil {
		return err
	}
	lines := newLogBuffer(out, logRoom)
	defer func() { err = errors.Join(err, lines.Close(ctx)) }() // last
	const grace, slack = time.Second, 5 * time.Second
	return profiled(c.profile, func() error {
		return inTime(ctx, c.drain+grace+slack, func() error {
			return serve(ctx, lines, c)
		})
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
	case c.load < 0 || c.load > 0 && c.n > 0:
		return usageError(fmt.Sprintf("-load %d: want 1 or more messages, "+
			"and no -n", c.load))
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
	case c.debug != "":
		return checkLoopback(c.debug)
	}
	return nil
}

// newLog returns the log of the service, from a level on. Each line has the
// time of day.
func newLog(out io.Writer, from slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{
		Level: from,
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
	log := newLog(out, c.level())
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
	failed := work(ctx, log, out, c, b, b.lease, db)
	ctx, cancel := settling(ctx, time.Second)
	defer cancel()
	left := any("unknown")
	if n, err := b.left(ctx); err == nil {
		left = n
	}
	log.Log(ctx, c.level(), "ended",
		"messages", int64(found)+b.published.Load(),
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
	ctx context.Context, log *slog.Logger, out io.Writer, c config, q queue,
	lease time.Duration, db store,
) error {
	restart := simulate(log, c.seed, "restarted", c.scale(3*time.Second))
	restart = unreliable(restart, c.seed)
	n, pause := c.n, c.scale(time.Second/2)
	if c.load > 0 {
		n, pause = c.load, 0
		restart = func(context.Context, Message) error { return nil }
	}
	restart = hanging(restart, c.stuck, nil) // for ever
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
	m.setDefaults()
	stop, err := c.startDebugging(log, m)
	if err != nil {
		return err
	}
	defer stop()
	if c.load > 0 {
		defer m.reportLoad(out)()
	}
	var failed, ran error
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		failed = publishNumbered(
			ctx, q, db.next, c.seed, n, pause)
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

// startDebugging starts what the flags ask for: the debug pages, with the block
// and mutex profiles, and the flight recorder. The caller must call stop when
// the service has ended, because whoever debugs it may ask until then.
func (c config) startDebugging(
	log *slog.Logger, m *Mandrill,
) (stop func(), err error) {
	stops := []func(){}
	stop = func() {
		for _, f := range slices.Backward(stops) {
			f()
		}
	}
	if c.traces != "" {
		const margin = 5 * time.Second // for what led to it
		snapshot, stopRecorder, err := startRecorder(
			c.traces, m.timeout+m.grace+margin)
		if err != nil {
			return nil, usageError(fmt.Sprintf("-traces: %v", err))
		}
		m.snapshot, stops = snapshot, append(stops, stopRecorder)
	}
	if c.debug != "" {
		url, stopPages, err := serveDebug(log, c.debug, m.debugPages())
		if err != nil {
			stop()
			return nil, err
		}
		log.Log(context.Background(), c.level(), "debug pages",
			"at", url+"/debug/pprof/")
		stops = append(stops, stopPages, startWaitProfiles())
	}
	return stop, nil
}
