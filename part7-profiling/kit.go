package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A lesson is a mistake and its fix, which play the same scene. Where a mistake
// has several forms, they run in order. Either all runs of one side are child
// processes, or none of them is.
type lesson struct {
	number   int
	core     bool // in the one-day course
	title    string
	watch    string // what to look at while it runs
	mistakes []sceneRun
	fix      []sceneRun
}

// A sceneRun is one run of a scene: a mistake plays it, or a fix. A run that
// dies or hangs needs a process of its own: see kit_child.go.
type sceneRun struct {
	name  string // of the function that plays: "ackFirst"
	place string // where that begins: "lesson04_nobody_waits.go:38"
	play  func(context.Context, *scene) verdict
	child *child // nil for a run in this process
	real  bool   // it needs real time: its test has no bubble
}

// A verdict closes a run: one line that says in numbers what happened. An empty
// one says that the run has not got that far.
type verdict struct {
	text   string
	failed bool // in the way that the lesson says the mistake does
}

// runs returns a run for each of the functions: it calls play with the
// function.
func runs[F any](
	play func(context.Context, *scene, F) verdict, functions ...F,
) (list []sceneRun) {
	for _, f := range functions {
		fn := runtime.FuncForPC(reflect.ValueOf(f).Pointer())
		file, _ := fn.FileLine(fn.Entry()) // the line depends on inlining
		name := fn.Name()[strings.LastIndex(fn.Name(), ".")+1:]
		list = append(list, sceneRun{
			name:  name,
			place: placeOf(filepath.Base(file), name),
			play: func(ctx context.Context, s *scene) verdict {
				return play(ctx, s, f)
			},
		})
	}
	return list
}

// sources are the files of the program.
//
//go:embed *.go
var sources embed.FS

// placeOf returns where a function begins: "lesson04_nobody_waits.go:38".
func placeOf(file, function string) string {
	text, _ := sources.ReadFile(file)
	for i, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "func "+function+"(") ||
			strings.HasPrefix(line, "func (") &&
				strings.Contains(line, ") "+function+"(") {
			return fmt.Sprintf("%s:%d", file, i+1)
		}
	}
	return file
}

// inRealTime marks runs that cannot be tested in a bubble.
func inRealTime(list []sceneRun) []sceneRun {
	for i := range list {
		list[i].real = true
	}
	return list
}

// A scene is what a run works with. It has the log and the seed, it provides
// work, and it keeps what was done, and when. main.go declares what else a run
// of its chapter leaves for its test: the extras.
type scene struct {
	log   *slog.Logger
	seed  uint64
	start time.Time
	extras

	mu   sync.Mutex
	now  int // work in progress
	peak int // the most there has been at a time
	done map[string][]time.Duration

	release func() // ends what a run has left stuck, after its verdict
}

// newScene returns a scene that logs to w, with the time since now.
func newScene(w io.Writer, seed uint64) *scene {
	s := &scene{seed: seed, start: time.Now(), release: func() {}}
	s.done = make(map[string][]time.Duration)
	s.log = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey:
				since := a.Value.Time().Sub(s.start)
				return slog.String("t", fmt.Sprintf("%.3fs", since.Seconds()))
			case slog.LevelKey:
				return slog.Attr{} // a lesson has 80 columns
			}
			return a
		},
	}))
	return s
}

// elapsed returns the time since the start, rounded to 10ms, so that a live run
// shows the same figures as the text.
func (s *scene) elapsed() time.Duration {
	return time.Since(s.start).Round(10 * time.Millisecond)
}

// work returns work that takes that long, and is then counted and logged as
// what, "restarted" for example. It does not listen to its context.
func (s *scene) work(what string, takes time.Duration) workFunc {
	return func(_ context.Context, msg Message) error {
		s.began(1)
		time.Sleep(takes)
		s.began(-1)
		s.did(what, msg, takes)
		return nil
	}
}

// began counts work in progress: 1 for what begins, -1 for what ends.
func (s *scene) began(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += n
	s.peak = max(s.peak, s.now)
}

// did counts and logs work that is done, and says how long it took, if that is
// not 0.
func (s *scene) did(what string, msg Message, took time.Duration) {
	s.mu.Lock()
	s.done[what] = append(s.done[what], time.Since(s.start))
	s.mu.Unlock()
	attrs := []any{"id", msg.ID, "host", msg.Instance}
	if took > 0 {
		attrs = append(attrs, "took", took)
	}
	s.log.Info(what, attrs...)
}

// when returns the times, since the start, at which work was done.
func (s *scene) when(what string) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.done[what])
}

// count returns how often work was done so far.
func (s *scene) count(what string) int {
	return len(s.when(what))
}

// A usageError says what is wrong with the arguments, and what would be right.
type usageError string

// Error implements error.
func (e usageError) Error() string { return string(e) }

// ExitStatus returns the status in the README's table.
func (e usageError) ExitStatus() int { return 2 }

// errBroken is returned by a mistake that did not fail, or a fix that did.
var errBroken = errors.New("the run did not do what the lesson promises")

// status returns the exit status for the error that run returned. An error may
// have a status of its own. Among joined errors, a plain failure decides: 1.
func status(err error) (code int) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if s := status(e); s == 1 || code == 0 {
				code = s
			}
		}
		return code
	}
	type withStatus interface {
		error
		ExitStatus() int
	}
	if e, ok := errors.AsType[withStatus](err); ok {
		return e.ExitStatus()
	} else if err != nil && !errors.Is(err, flag.ErrHelp) {
		return 1
	}
	return 0
}

// parse returns the words among the arguments. Flags may stand before, between
// and after them. For -h it prints the help to out and returns flag.ErrHelp.
func parse(
	flags *flag.FlagSet, args []string, out io.Writer,
) (words []string, err error) {
	flags.SetOutput(io.Discard) // one line per error, and main prints it
	for {
		err := flags.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(out, "%s [flags] [lessons | mistake N | fix N]\n\n"+
				"Without a command it runs the service. The lessons:\n",
				flags.Name())
			list(out)
			fmt.Fprintln(out, "\nThe flags:")
			flags.SetOutput(out)
			flags.PrintDefaults()
			return nil, err
		} else if err != nil {
			return nil, usageError(err.Error() + "; -h shows the flags")
		}
		if args = flags.Args(); len(args) == 0 {
			return words, nil
		}
		words, args = append(words, args[0]), args[1:]
	}
}

// lessonFlag begins the usage of a flag that is for lessons. The other flags
// are for the service, except -seed, which is for both.
const lessonFlag = "in lessons, "

// command does what the words say: lessons, mistake N or fix N. It blocks until
// the last run has ended.
func command(
	ctx context.Context, out io.Writer, flags *flag.FlagSet, words []string,
) (err error) {
	seed := flags.Lookup("seed").Value.(flag.Getter).Get().(uint64)
	var more []string // flags for a child
	flags.Visit(func(f *flag.Flag) {
		if strings.HasPrefix(f.Usage, lessonFlag) {
			more = append(more, fmt.Sprintf("-%s=%v", f.Name, f.Value))
		} else if f.Name != "seed" {
			err = usageError(fmt.Sprintf(
				"-%s is for the service, not for %q", f.Name, words[0]))
		}
	})
	if err != nil {
		return err
	}
	switch {
	case len(words) == 1 && words[0] == "lessons":
		list(out)
		return nil
	case len(words) == 2 && (words[0] == "mistake" || words[0] == "fix"):
		n, err := strconv.Atoi(
			strings.TrimPrefix(words[1], fmt.Sprintf("%d.", part)))
		for _, l := range lessons {
			if err == nil && l.number == n {
				return l.perform(ctx, out, seed, words[0], more...)
			}
		}
		return usageError(fmt.Sprintf(
			"no lesson %q; the command \"lessons\" lists them", words[1]))
	}
	return usageError(fmt.Sprintf(
		"don't know %q; try: lessons, mistake N, fix N",
		strings.Join(words, " ")))
}

// list prints a line for each lesson.
func list(out io.Writer) {
	for _, l := range lessons {
		star := ' '
		if l.core {
			star = '*'
		}
		fmt.Fprintf(out, "%d.%d %c %s\n", part, l.number, star, l.title)
	}
	fmt.Fprintln(out, "(* in the one-day course)")
}

// perform runs one side of a lesson. It prints what to watch, and for each run
// its name, its output and its verdict. It returns errBroken if a mistake did
// not fail or a fix did, and gives no verdict on a run that was interrupted.
// A child gets more flags, if there are any.
func (l lesson) perform(
	ctx context.Context, out io.Writer, seed uint64, side string,
	more ...string,
) (err error) {
	list := l.mistakes
	if side == "fix" {
		list = l.fix
	}
	if i, ok := ourRun(); ok {
		list[i].play(ctx, newScene(out, seed))
		return nil
	}
	fmt.Fprintf(out, "watch %s\n", l.watch)
	for i, r := range list {
		fmt.Fprintf(out, "--- %s %d.%d: %s (%s)\n%s",
			side, part, l.number, r.name, r.place, r.child.note())
		if r.child.elsewhere() {
			fmt.Fprintf(out, "not played: it needs %s\n", r.child.only)
			continue
		}
		var v verdict
		if r.child != nil {
			args := append([]string{"-seed", fmt.Sprint(seed)}, more...)
			endings, err := r.child.watch(
				ctx, out, i, append(args, side, fmt.Sprint(l.number))...)
			if err == nil {
				v = r.child.verdictOn(endings)
			} else if ctx.Err() == nil {
				return err
			}
		} else {
			s := newScene(out, seed)
			v = r.play(ctx, s)
			s.release()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", context.Cause(ctx))
		}
		text := cmp.Or(v.text, "it could not be played")
		fmt.Fprintf(out, "%s %d.%d: %s\n", side, part, l.number, text)
		if v.text == "" || v.failed != (side == "mistake") {
			err = errBroken
		}
	}
	return err
}

// An output is where a program prints. It remembers the first write that
// failed. It is safe for concurrent use, because goroutines that a run has left
// behind may still print.
type output struct {
	to      io.Writer
	mu      sync.Mutex
	failure atomic.Pointer[error]
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.to.Write(p)
	if err != nil {
		o.failure.CompareAndSwap(nil, &err)
	}
	return n, err
}

// failed returns the error of the first write that failed. It does not wait for
// a write that blocks.
func (o *output) failed() error {
	if err := o.failure.Load(); err != nil {
		return *err
	}
	return nil
}
