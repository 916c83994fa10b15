package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// In this part, mistakes and fixes are tests. Each run starts the chapter's
// test binary.

// tests returns a run of the tests in a file whose names begin with an entry of
// the list names: "TestFix05", or "TestMistake02Quiet|TestMistake02Logs". The
// run has the name of the first test that begins with the last entry. c has the
// verdict and other options; the flags go to the test binary.
func tests(file, names string, c child, flags ...string) sceneRun {
	source, _ := sources.ReadFile(file)
	name := regexp.MustCompile(
		`(?m)^func (` + names[strings.LastIndex(names, "|")+1:] + `\w*)\(`).
		FindStringSubmatch(string(source))[1]
	pattern := names
	if strings.Contains(names, "|") {
		pattern = "'" + names + "'"
	}
	c.same = strings.Join(append([]string{
		"go test -v -run", pattern, "./part5-testing"}, flags...), " ")
	if c.runs > 1 {
		c.same += " -seed N"
	}
	if c.shows == nil {
		c.shows = whatMatters
	}
	c.binary = plainTests.path
	c.args = func(run int) []string {
		args := append([]string{"-test.v", "-test.timeout=" + c.wait().String(),
			"-test.run=^(" + names + ")"}, flags...)
		if c.runs > 1 {
			args = append(args, "-seed", strconv.Itoa(run+1))
		}
		return args
	}
	return sceneRun{name: name, place: placeOf(file, name), child: &c}
}

// A testBinary is built when a run needs it for the first time.
type testBinary struct {
	mutants []mutant // in the service

	mu sync.Mutex // also held while it is built
	at string     // its path; empty if it isn't built
}

// The test binary of this chapter, and the one of lesson 5.
var (
	plainTests   = &testBinary{}
	mutatedTests = &testBinary{mutants: survivors()}
)

// newDir returns the path of a new folder.
var newDir = func() (dir string, err error) {
	return os.MkdirTemp("", "mayhem")
}

// path returns the path of the test binary. If it isn't there, path builds it.
// The function that it returns does nothing, because the next run needs the
// binary again: see remove.
func (b *testBinary) path() (path string, done func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at == "" {
		dir, err := newDir()
		if err != nil {
			return "", nil, err
		}
		path, err := buildMutated(dir, b.mutants)
		if err != nil {
			os.RemoveAll(dir)
			return "", nil, fmt.Errorf("no test binary: %w\n(It needs Go, "+
				"and the workbook as the working directory.)", err)
		}
		b.at = path
	}
	return b.at, func() {}, nil
}

// remove removes the test binary, if it is there. The program calls it when it
// ends.
func (b *testBinary) remove() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at != "" {
		os.RemoveAll(filepath.Dir(b.at))
	}
}

// whatMatters leaves out what no one reads: lines such as "=== RUN   TestA",
// and, of what testify prints, the traces and the difference between two short
// values.
func whatMatters(line string) bool {
	const more = "        \t            \t" // of an error of testify
	rest, isMore := strings.CutPrefix(line, more)
	switch {
	case isMore: // "expected", "actual", or the text of an error
		return rest >= "a"
	case strings.HasPrefix(line, "==="), strings.Contains(line, "Error Trace:"):
		return false
	}
	return true
}

// resultsOnly leaves only the results of top-level tests.
func resultsOnly(line string) bool { return strings.HasPrefix(line, "--- ") }

// result matches the line of "go test -v" with the result of a top-level test.
var result = regexp.MustCompile(`(?m)^--- (PASS|FAIL): (\w+) \(([\d.]+)s\)$`)

// results returns the tests that were red and those that were green, and the
// seconds they took.
func (e ending) results() (red, green []string, seconds float64) {
	for _, m := range result.FindAllStringSubmatch(e.printed, -1) {
		if m[1] == "FAIL" {
			red = append(red, m[2])
		} else {
			green = append(green, m[2])
		}
		took, _ := strconv.ParseFloat(m[3], 64)
		seconds += took
	}
	slices.Sort(red) // parallel tests end in any order
	slices.Sort(green)
	return red, green, seconds
}

// isGreen reports whether all tests of the process were green, and at least one
// ran. A process that ends in any other way is red.
func (e ending) isGreen() bool {
	_, green, _ := e.results()
	return e.code == 0 && len(green) > 0
}

// mustBeGreen is the verdict on tests that have to be green: the service is
// right.
func mustBeGreen(endings []ending) verdict {
	e := endings[0]
	if e.isGreen() {
		return verdict{e.colour(), false}
	}
	return verdict{e.colour() + ", without a bug", true}
}

// mustBeRed is the verdict on tests that have to be red: the service has a bug.
func mustBeRed(endings []ending) verdict {
	e := endings[0]
	if e.isGreen() {
		return verdict{e.colour() + ", in spite of the bug", true}
	}
	return verdict{e.colour() + ", because of the bug", false}
}

// colour says in words whether the tests were red or green.
func (e ending) colour() string {
	red, green, _ := e.results()
	switch {
	case e.isGreen() && len(green) > 3:
		return fmt.Sprintf("green: %d tests", len(green))
	case e.isGreen():
		return fmt.Sprintf("green: %s", strings.Join(green, ", "))
	case len(red) > 0:
		return fmt.Sprintf("red: %s", strings.Join(red, ", "))
	}
	return "red: " + e.how
}

// oftenRed says for how many seeds a test was red. Each process has its own
// seed.
func oftenRed(endings []ending) verdict {
	red, total := 0, 0.0
	for _, e := range endings {
		_, _, seconds := e.results()
		total += seconds
		if !e.isGreen() {
			red++
		}
	}
	share := "0"
	if red > 0 {
		share = fmt.Sprintf("~%d", red)
	}
	return verdict{
		text: fmt.Sprintf("red for %s of %d seeds, ~%.0f s in all",
			share, len(endings), total),
		failed: red > 0,
	}
}

// The kit is the same in every chapter. These are unused here.
var _ = []any{runs[func()], inChild, (*scene).elapsed, scene{}.extras}
