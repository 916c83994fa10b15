package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Flags of the tests that play a lesson.
var (
	seedFlag = flag.Uint64("seed", 0, "draw the work from it (0: any seed)")
	bugFlag  = flag.String("bug", "", "give what is tested this bug")
)

// bugs are the values of -bug.
var bugs = []string{"", "acksOnReceipt", "deaf", "deadContext", "forgetsDoubts",
	"kindQueue"}

// hasBug reports whether -bug asks for this bug.
func hasBug(t *testing.T, name string) bool {
	t.Helper()
	if !slices.Contains(bugs, *bugFlag) {
		t.Fatalf("-bug %s: want one of %q", *bugFlag, bugs[1:])
	}
	return *bugFlag == name
}

// In the tests, the plain test binary is the running program. The mutated one
// is built beside the program, and removed with it.
func init() {
	plainTests.at, _ = os.Executable()
	newDir = func() (dir string, err error) {
		ours, _, err := program(false)
		if err != nil {
			return "", err
		}
		return os.MkdirTemp(filepath.Dir(ours), "mutated")
	}
}

// A testRun is a row: a run of a lesson, and its expected verdict.
type testRun struct {
	name string
	side string
	i    int
	want verdict
}

// playTests plays all runs of a lesson, each in a process of its own.
func playTests(t *testing.T, l lesson, rows []testRun) {
	t.Helper()
	require.Len(t, rows, len(l.mistakes)+len(l.fix), "runs")
	t.Parallel()
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			list := l.mistakes
			if tt.side == "fix" {
				list = l.fix
			}
			if list[tt.i].child.elsewhere() {
				t.Skip("needs another system")
			}
			v := list[tt.i].child.verdictOn(watchRun(t, l, tt.side, tt.i))
			assert.Equal(t, tt.want, v)
		})
	}
}

// A test process that doesn't end green counts as red.
func TestColours(t *testing.T) {
	for _, tt := range []struct {
		name string
		e    ending
		want string
	}{
		{"passed", ending{printed: "--- PASS: TestA (0.10s)\n" +
			"    --- PASS: TestA/sub (0.10s)\n--- PASS: TestB (0.00s)\n"},
			"green: TestA, TestB"},
		{"one failed", ending{code: 1, printed: "--- FAIL: TestA (0.10s)\n" +
			"--- PASS: TestB (0.00s)\n"}, "red: TestA"},
		{"a goroutine is left", ending{code: 1, how: "exit status 1",
			printed: "--- PASS: TestA (0.10s)\n"}, "red: exit status 1"},
		{"no such test", ending{printed: "testing: warning: no tests to run\n"},
			"red: "},
		{"killed", ending{code: -1, how: "signal: terminated"},
			"red: signal: terminated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.e.colour())
			green := fmt.Sprintf("%.5s", tt.want) == "green"
			all := []ending{tt.e, tt.e}
			assert.Equal(t, !green, mustBeGreen(all).failed, "must be green")
			assert.Equal(t, green, mustBeRed(all).failed, "must be red")
			assert.Equal(t, !green, oftenRed(all).failed, "often red")
		})
	}
}

// A mistake does not run in the tests of this chapter, unless -run names it.
func TestLeavesMistakesOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		run, skip string
		want      []string
	}{
		{"^TestMis", "", nil},
		{"^TestMis", "None/of_these|Nothing", nil},
		{"^TestFix02(Quiet|Logs)", "",
			[]string{"TestFix02Logs", "TestFix02Quiet"}},
		{"^TestFix02(Quiet|Logs)", "Logs", []string{"TestFix02Quiet"}},
		{"^(TestMistake02Quiet|TestFix02Quiet)", "",
			[]string{"TestFix02Quiet", "TestMistake02Quiet"}},
		{"^(TestMistake02Quiet|TestFix02Quiet)", "Fix",
			[]string{"TestMistake02Quiet"}},
	} {
		c := &child{binary: plainTests.path, args: func(int) []string {
			return []string{"-test.v", "-test.timeout=30s",
				"-test.run=" + tt.run, "-test.skip=" + tt.skip}
		}}
		endings, err := c.watch(t.Context(), t.Output(), 0)
		require.NoError(t, err)
		_, green, _ := endings[0].results()
		assert.Equal(t, tt.want, green, "-run %s -skip %s", tt.run, tt.skip)
		assert.Zero(t, endings[0].code, "exit status")
	}
}
