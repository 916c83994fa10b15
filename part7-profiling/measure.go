package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/pprof/profile"
)

// The functions here are for the lessons: they read profiles, and take times.

// readProfile reads a profile. The library is the one that go tool pprof uses.
func readProfile(r io.Reader) (*profile.Profile, error) {
	return profile.Parse(r)
}

// lookUp returns one of the runtime's profiles: "block" or "mutex", say.
func lookUp(name string) (*profile.Profile, error) {
	var b bytes.Buffer
	if err := pprof.Lookup(name).WriteTo(&b, 0); err != nil {
		return nil, err
	}
	return readProfile(&b)
}

// spent returns the time in a profile: in all, and in the samples whose stack
// has the function. place is the line that the function was at in the longest
// of those: "(*journal).write:60".
func spent(
	p *profile.Profile, function string,
) (all, there time.Duration, place string) {
	longest := int64(0)
	for _, s := range p.Sample {
		ns := s.Value[len(s.Value)-1] // the values are a count and a time
		all += time.Duration(ns)
		at := lineOf(s, function)
		if at == "" {
			continue
		}
		there += time.Duration(ns)
		if ns > longest {
			longest, place = ns, at
		}
	}
	return all, there, place
}

// lineOf returns where a function stands in the stack of a sample, or "".
func lineOf(s *profile.Sample, function string) string {
	for _, l := range s.Location {
		for _, line := range l.Line {
			_, name, _ := strings.Cut(filepath.Base(line.Function.Name), ".")
			if name == function {
				return fmt.Sprintf("%s:%d", name, line.Line)
			}
		}
	}
	return ""
}

// atOnce runs the work n times at once, waits, and returns how long that took.
func atOnce(n int, work func(i int)) time.Duration {
	begun := time.Now()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { work(i) })
	}
	all.Wait()
	return time.Since(begun)
}

// nothing is work that is done at once.
func nothing(context.Context, Message) error { return nil }

// quiet is a log of nothing.
var quiet = slog.New(slog.DiscardHandler)

// roughly marks a figure that differs a little from run to run.
func roughly[T int | int64](n T) string { return fmt.Sprintf("~%d", n) }

// ms returns a time in milliseconds, roughly.
func ms(d time.Duration) string {
	return roughly(d.Milliseconds()) + "ms"
}

// figure returns the first figure that the pattern finds in what a child has
// printed, and whether there is one.
func figure(printed, pattern string) (n int, ok bool) {
	m := regexp.MustCompile(pattern).FindStringSubmatch(printed)
	if m == nil {
		return 0, false
	}
	n, err := strconv.Atoi(m[1])
	return n, err == nil
}

// What the kit has for other chapters.
var _ = []any{scene{}.extras, (*scene).elapsed, inRealTime}
