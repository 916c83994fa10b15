package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A lesson is a mistake and its fix, played on the same scene. Where a mistake
// has several forms, they are played in order: either all of them in processes
// of their own, or none.
type lesson struct {
	number   int
	core     bool // in the one-day course
	title    string
	mistakes []act
	fix      []act
}

// An act is a scene with somebody to play it. One that dies or hangs plays in a
// process of its own: see child.go.
type act struct {
	play  func(context.Context, *stage) verdict
	child *child // nil for one that plays here
}

// A verdict closes an act: one line that says in numbers what happened.
type verdict struct {
	text   string
	failed bool // it failed as the lesson says that the mistake does
}

// acts lets the players play the scene, one after the other.
func acts[F any](
	scene func(context.Context, *stage, F) verdict, players ...F,
) (list []act) {
	for _, player := range players {
		list = append(list, act{
			play: func(ctx context.Context, s *stage) verdict {
				return scene(ctx, s, player)
			},
		})
	}
	return list
}

// A stage is where an act plays. It has the log and the seed, it provides work,
// and it keeps what was done, and when. What else an act of this part leaves
// for its proof are its props: main.go declares them.
type stage struct {
	log   *slog.Logger
	seed  uint64
	start time.Time
	props

	mu   sync.Mutex
	now  int // work going on
	peak int // the most there has been at a time
	done map[string][]time.Duration

	release func() // lets go whom an act left stuck, once the verdict is in
}

// newStage returns a stage that logs to w the time since now.
func newStage(w io.Writer, seed uint64) *stage {
	s := &stage{seed: seed, start: time.Now(), release: func() {}}
	s.done = make(map[string][]time.Duration)
	s.log = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey:
				since := a.Value.Time().Sub(s.start)
				return slog.String("t", fmt.Sprintf("%.3fs", since.Seconds()))
			case slog.LevelKey:
				return slog.Attr{} // all of it is INFO
			}
			return a
		},
	}))
	return s
}

// elapsed is rounded, so that a live act shows the figures of the text.
func (s *stage) elapsed() time.Duration {
	return time.Since(s.start).Round(10 * time.Millisecond)
}

// work returns work that takes that long and is then noted and logged as what,
// "restarted" for example. It does not listen to its context.
func (s *stage) work(what string, takes time.Duration) workFunc {
	return func(_ context.Context, msg Message) error {
		s.mu.Lock()
		s.now++
		s.peak = max(s.peak, s.now)
		s.mu.Unlock()

		time.Sleep(takes)

		s.mu.Lock()
		s.now--
		s.done[what] = append(s.done[what], time.Since(s.start))
		s.mu.Unlock()
		s.log.Info(what, "id", msg.ID, "host", msg.Instance)
		return nil
	}
}

// when returns at what times work was done so far, since the start.
func (s *stage) when(what string) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.done[what])
}

// count returns how often work was done so far.
func (s *stage) count(what string) int {
	return len(s.when(what))
}

// A usageError says what is wrong with the arguments, and what would be right.
type usageError string

func (e usageError) Error() string { return string(e) }

// ExitStatus is that of the README's table.
func (e usageError) ExitStatus() int { return 2 }

// errBroken is returned by a mistake that did not fail, or a fix that did.
var errBroken = errors.New("that is not what the lesson promises")

// status returns the exit status for what run returned. An error may bring its
// own.
func status(err error) int {
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

// command does what the words say: lessons, mistake N or fix N. It blocks until
// the last act has ended.
func command(
	ctx context.Context, out io.Writer, seed uint64, words []string,
) error {
	switch {
	case len(words) == 1 && words[0] == "lessons":
		list(out)
		return nil
	case len(words) == 2 && (words[0] == "mistake" || words[0] == "fix"):
		n, err := strconv.Atoi(words[1])
		for _, l := range lessons {
			if err == nil && l.number == n {
				return l.perform(ctx, out, seed, words[0])
			}
		}
		return usageError(fmt.Sprintf(
			"no lesson %q; the command \"lessons\" lists them", words[1]))
	}
	return usageError(fmt.Sprintf(
		"don't know %q; try: lessons, mistake N, fix N", words))
}

// list prints a line for each lesson. A star marks the core.
func list(out io.Writer) {
	for _, l := range lessons {
		star := ' '
		if l.core {
			star = '*'
		}
		fmt.Fprintf(out, "%3d %c %s\n", l.number, star, l.title)
	}
}

// perform plays one side of a lesson, and closes each act with its verdict.
func (l lesson) perform(
	ctx context.Context, out io.Writer, seed uint64, side string,
) error {
	acts := l.mistakes
	if side == "fix" {
		acts = l.fix
	}
	out = &sharedWriter{to: out}
	if i, ok := ourAct(); ok {
		acts[i].play(ctx, newStage(out, seed))
		return nil
	}
	var broken error
	for i, a := range acts {
		var v verdict
		if a.child != nil {
			endings, err := a.child.watch(ctx, out, i,
				"-seed", fmt.Sprint(seed), side, fmt.Sprint(l.number))
			if err != nil {
				return err
			}
			judge := a.child.judge
			if judge == nil {
				judge = died
			}
			v = judge(endings)
		} else {
			s := newStage(out, seed)
			v = a.play(ctx, s)
			s.release()
		}
		fmt.Fprintf(out, "%s %d.%d: %s\n", side, part, l.number, v.text)
		if v.failed != (side == "mistake") {
			broken = errBroken
		}
	}
	return broken
}

// A sharedWriter lets a verdict be written while goroutines that an act left
// behind still log.
type sharedWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *sharedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}
