package main

import (
	"bufio"
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestMain fails the package if a goroutine is left when its tests have ended.
// Children run the program itself, built once, when the first of them starts.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mayhem")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	flag.Parse()
	flag.Set("test.parallel", "16") // those that may be wait for children
	if !*update {
		waits = 1500 * time.Millisecond // for a hang that is on record
	}
	plain := sync.OnceValues(func() (string, error) {
		return build(filepath.Join(dir, "plain"))
	})
	raced := sync.OnceValues(func() (string, error) {
		return build(filepath.Join(dir, "raced"), "-race")
	})
	program = func(race bool) (path string, remove func(), err error) {
		built := plain
		if race {
			built = raced
		}
		path, err = built()
		return path, func() {}, err
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// needRace skips a test that the race detector has to watch, if it does not.
func needRace(t *testing.T) {
	t.Helper()
	info, _ := debug.ReadBuildInfo()
	if !slices.Contains(info.Settings,
		debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("needs the race detector: go test -race")
	}
}

// inBubble runs f in virtual time, and ends it after an hour of that: a ticker
// that nobody stops would keep a bubble going for ever.
func inBubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		defer time.AfterFunc(time.Hour, func() {
			panic(t.Name() + " still runs after a virtual hour")
		}).Stop()
		f(t)
	})
}

// leaked tells of the goroutines that are left, beside those that the option
// ignores: how many wait for what, and where ("chan send in publish.func1").
// In a bubble, all of them have half a second of virtual time to end.
func leaked(ignore goleak.Option) (left map[string]int) {
	err := goleak.Find(ignore)
	if err == nil {
		return nil
	}
	pc, _, _, _ := runtime.Caller(0)
	pkg := strings.TrimSuffix(runtime.FuncForPC(pc).Name(), "leaked")
	ours := regexp.MustCompile(
		`(?s)^([\w. ]+\w).*?\n` + regexp.QuoteMeta(pkg) + `(\S+)\(`)
	stacks := regexp.MustCompile(`Goroutine \d+ in state `)
	left = make(map[string]int)
	for _, stack := range stacks.Split(err.Error(), -1)[1:] {
		if m := ours.FindStringSubmatch(stack); m != nil {
			stack = m[1] + " in " + m[2]
		}
		left[stack]++
	}
	return left
}

var update = flag.Bool("update", false, "rewrite the recorded outputs")

// TestRecordedOutputs compares the outputs in the text with those of the
// commands. In virtual time they come out the same to the letter. A child has
// real time: what varies from run to run is masked by its name.
func TestRecordedOutputs(t *testing.T) {
	t.Parallel()
	const hung = "still running after "
	for _, l := range lessons {
		for side, acts := range map[string][]act{
			"mistake": l.mistakes, "fix": l.fix,
		} {
			name := fmt.Sprintf("lesson%02d-%s", l.number, side)
			t.Run(name, func(t *testing.T) {
				var out bytes.Buffer
				play := func(t *testing.T) {
					args := []string{side, strconv.Itoa(l.number)}
					err := run(t.Context(), args, &out)
					if !slices.ContainsFunc(acts, isShare) {
						assert.NoError(t, err)
					}
				}
				if acts[0].child != nil && acts[0].child.race {
					needRace(t)
				}
				if acts[0].child != nil && acts[0].child.poke != nil &&
					runtime.GOOS == "windows" {
					t.Skip("Windows can't send signals")
				}
				var got string
				if acts[0].child != nil {
					t.Parallel()
					play(t)
					got = masked(out.String())
					got = strings.ReplaceAll(
						got, hung+waits.String(), hung+patience.String())
				} else {
					inBubble(t, play)
					got = inOrder(out.String())
				}
				path := filepath.Join("testdata", name+".txt")
				if *update {
					require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
				}
				want, err := os.ReadFile(path)
				require.NoError(t, err, "-update records it")
				assert.Equal(t, about(string(want)), about(got))
			})
		}
	}
}

// inOrder sorts the lines of one instant by message: which of two goroutines
// writes first is anybody's guess. The lines of one message keep their order,
// and so does a line that is about none.
func inOrder(log string) string {
	id := regexp.MustCompile(`^(t=\S+).* id=m(\d+)`)
	key := func(line string) (instant string, n int) {
		if m := id.FindStringSubmatch(line); m != nil {
			n, _ = strconv.Atoi(m[2])
			return m[1], n
		}
		return "", 0
	}
	lines := strings.SplitAfter(log, "\n")
	for from, to := 0, 0; from < len(lines); from = to {
		instant, _ := key(lines[from])
		for to = from + 1; to < len(lines); to++ {
			if next, _ := key(lines[to]); next != instant || next == "" {
				break
			}
		}
		slices.SortStableFunc(lines[from:to], func(a, b string) int {
			_, i := key(a)
			_, j := key(b)
			return cmp.Compare(i, j)
		})
	}
	return strings.Join(lines, "")
}

// isShare reports whether an act is played often because its mistake shows in a
// share of the runs. That share may be none, for once.
func isShare(a act) bool { return a.child != nil && a.child.runs > 1 }

// about replaces figures that differ between two runs, "~9 of 50" for example.
// In the recorded output they stand as they were.
func about(out string) string {
	return regexp.MustCompile(`(?:~\d+|\b0) of`).
		ReplaceAllString(out, "~<n> of")
}

// masked replaces what differs between two runs of a process.
func masked(out string) string {
	here, _ := os.Getwd()
	here = regexp.QuoteMeta(filepath.ToSlash(here))
	for _, m := range []struct{ differs, name string }{
		{`(?m)^(\s+)` + here + `/(\S+:\d+).*$`, "$1<path>/$2"},
		{`(?m)^(\s+)\S*/src/\S+\.go:\d+.*$`, "$1<path>"}, // in Go itself
		{`\[go\.shape.*\]`, "[...]"},
		{`([Gg]oroutine) \d+`, "$1 <n>"},
		{`0x[0-9a-f]+`, "<address>"},
		{`(?m)^t=\S+`, "t=<time>"},
	} {
		out = regexp.MustCompile(m.differs).ReplaceAllString(out, m.name)
	}
	return out
}

// A process is the program, started by a proof.
type process struct {
	*exec.Cmd
	stdin io.Closer      // it ends when this is closed
	lines *bufio.Scanner // what it prints, on either output
}

// start starts the program with these arguments. At the end of the test it is
// killed, if it still runs then.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	path, _, err := program(false)
	require.NoError(t, err)
	return startCommand(t, exec.Command(path, args...))
}

// startCommand starts a program that has been prepared. In its environment it
// may say which act to play.
func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd.Env = append([]string{childEnv + "=yes", "GOTRACEBACK=none"},
		append(os.Environ(), cmd.Env...)...)
	cmd.Stdout, cmd.Stderr = w, w
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	w.Close()
	tooLong := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		tooLong.Stop()
		cmd.Process.Kill()
		cmd.Wait()
		r.Close()
	})
	return &process{cmd, stdin, bufio.NewScanner(r)}
}

// until blocks until the process prints a line with that text.
func (c *process) until(t *testing.T, text string) {
	t.Helper()
	for c.lines.Scan() {
		if strings.Contains(c.lines.Text(), text) {
			return
		}
	}
	require.Fail(t, "it ended before it printed "+text)
}

// end blocks until the process has ended, and returns its exit status, -1 if a
// signal ended it, and the lines that were not read yet.
func (c *process) end() (status int, lines []string) {
	for c.lines.Scan() {
		lines = append(lines, c.lines.Text())
	}
	c.Wait()
	return c.ProcessState.ExitCode(), lines
}
