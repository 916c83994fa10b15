package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
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
// Tests that are mistakes run only if -run names them: -run Mistake01.
func TestMain(m *testing.M) {
	switch os.Getenv(selfEnv) {
	case "arguments":
		fmt.Println(os.Args[1:])
		os.Exit(0)
	case "environment":
		fmt.Println(os.Getenv("MAYHEM_MORE"))
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "mayhem")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	flag.Parse()
	flag.Set("test.parallel", "32") // parallel tests wait for children
	if skip := flag.Lookup("test.skip").Value; !strings.Contains(
		flag.Lookup("test.run").Value.String(), "Mistake") {
		skip.Set(strings.Trim(skip.String()+"|^TestMistake", "|"))
	}
	endWithParent()
	if !*update {
		childWait, hangWait = 30*time.Second, 1200*time.Millisecond
	}
	plain := sync.OnceValues(func() (string, error) {
		if path := os.Getenv(programEnv); path != "" {
			return path, nil
		}
		return build(filepath.Join(dir, "plain"), "build", ourPackage())
	})
	raced := sync.OnceValues(func() (string, error) {
		return build(
			filepath.Join(dir, "raced"), "build", "-race", ourPackage())
	})
	program = func(race bool) (path string, remove func(), err error) {
		built := plain
		if race {
			built = raced
		}
		path, err = built()
		return path, func() {}, err
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(), goleak.Cleanup(
		func(code int) {
			os.RemoveAll(dir)
			os.Exit(code)
		}))
}

// needRace skips a test that needs the race detector, if it is not there.
func needRace(t *testing.T) {
	t.Helper()
	if !builtWithRace() {
		t.Skip("needs the race detector: go test -race")
	}
}

// inBubble runs f in virtual time. It panics after a virtual hour, because a
// ticker that is never stopped keeps a bubble going for ever. It also panics
// after a real minute: virtual time stands still while a goroutine waits for a
// mutex, a file or the network.
func inBubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	defer time.AfterFunc(bubbleTime, func() {
		debug.SetTraceback("all")
		panic(t.Name() + " still runs after a real minute: does a goroutine " +
			"wait for a mutex, a file or the network?")
	}).Stop()
	synctest.Test(t, func(t *testing.T) {
		defer time.AfterFunc(time.Hour, func() {
			panic(t.Name() + " still runs after a virtual hour")
		}).Stop()
		f(t)
	})
}

// bubbleTime is the real time that a bubble may take.
const bubbleTime = time.Minute

// leaked returns and logs the goroutines that are left, except those that the
// option ignores: how many wait for what, and where ("chan send in
// publish.func1"). In a bubble, all of them have half a second of virtual time
// to end.
func leaked(t *testing.T, ignore goleak.Option) (left map[string]int) {
	t.Helper()
	err := goleak.Find(ignore)
	if err == nil {
		t.Log("left running: nothing")
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
	t.Log("left running:", left)
	return left
}

// watchRun does run number i of one side of a lesson in a process of its own,
// as the command does, and returns how that ended: a slice, because a run may
// be several processes. What they print goes to the test's output, and so does
// the verdict.
func watchRun(t *testing.T, l lesson, side string, i int) []ending {
	t.Helper()
	list := l.mistakes
	if side == "fix" {
		list = l.fix
	}
	c := cmp.Or(list[i].child, &child{})
	endings, err := c.watch(
		t.Context(), t.Output(), i, side, strconv.Itoa(l.number))
	require.NoError(t, err)
	t.Log(c.verdictOn(endings).text)
	return endings
}

var update = flag.Bool("update", false, "rewrite the recorded outputs")

// TestRecordedOutputs compares the outputs in the text with those of the
// commands. In virtual time they come out the same to the letter. What runs in
// real time differs from run to run in figures that are masked by name.
func TestRecordedOutputs(t *testing.T) {
	t.Parallel()
	for _, l := range lessons {
		for side, list := range map[string][]sceneRun{
			"mistake": l.mistakes, "fix": l.fix,
		} {
			name := fmt.Sprintf("lesson%02d-%s", l.number, side)
			t.Run(name, func(t *testing.T) {
				child := list[0].child
				if child != nil && child.race {
					needRace(t)
				}
				if child != nil && child.onLine != nil &&
					runtime.GOOS == "windows" {
					t.Skip("Windows can't send signals")
				}
				if slices.ContainsFunc(list, isElsewhere) {
					t.Skip("some of its runs need another system")
				}
				if child != nil || list[0].real {
					t.Parallel()
				}
				got := outputOf(t, list, side, strconv.Itoa(l.number))
				path := filepath.Join("testdata", name+".txt")
				if *update {
					require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
				}
				want, err := os.ReadFile(path)
				require.NoError(t, err, "-update records it")
				assert.Equal(t, steady(string(want), list[0]),
					steady(got, list[0]))
			})
		}
	}
}

// outputOf returns what a command prints that does these runs, in a form that
// is the same every time.
func outputOf(t *testing.T, list []sceneRun, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	perform := func(t *testing.T) {
		err := run(t.Context(), args, &out)
		if args[0] == "fix" || !slices.ContainsFunc(list, isShare) {
			assert.NoError(t, err)
		}
	}
	if list[0].child == nil && !list[0].real {
		inBubble(t, perform)
		return inOrder(out.String())
	}
	perform(t)
	got := masked(out.String())
	if list[0].real { // what was measured differs as well
		got = regexp.MustCompile(`\btook([ =])\d\S*`).
			ReplaceAllString(got, "took$1<time>")
	}
	const hung = "still running after "
	return strings.ReplaceAll(
		got, hung+hangWait.String(), hung+childTime.String())
}

// inOrder sorts the lines of one instant by message, because two goroutines
// write them in either order. The lines of one message keep their order, and so
// does a line that is about none.
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

// isShare reports whether a scene is run often because its mistake shows in a
// share of the runs. That share may be none, for once.
func isShare(r sceneRun) bool { return r.child != nil && r.child.runs > 1 }

// isElsewhere reports whether a run needs an operating system that is not ours.
func isElsewhere(r sceneRun) bool {
	return r.child.elsewhere()
}

// steady returns an output without what differs between two runs: figures
// such as "~9 of 50" or "~9", and in real time the order of a run's lines,
// because a slow machine may change it. In the recorded output they stand as
// they were.
func steady(out string, r sceneRun) string {
	out = regexp.MustCompile(`(?:~\d+|\b0) of`).
		ReplaceAllString(out, "~<n> of")
	out = regexp.MustCompile(`~\d+`).ReplaceAllString(out, "~<n>")
	out = regexp.MustCompile(`\(\d+\.\d\ds\)`). // of a test
							ReplaceAllString(out, "(<time>)")
	if r.child == nil && !r.real {
		return out
	}
	runs := strings.SplitAfter(out, "\n--- ")
	for i, run := range runs {
		runs[i] = strings.Join(
			slices.Sorted(strings.Lines(run)), "")
	}
	return strings.Join(runs, "")
}

// masked replaces what differs between two runs in real time.
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
		{`\b(pid|port)=\d+`, "$1=<$1>"},
	} {
		out = regexp.MustCompile(m.differs).ReplaceAllString(out, m.name)
	}
	return out
}

// A process is the program, started by a test.
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

// startCommand starts a program that has been prepared. Its environment may say
// which run it is.
func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	dir := t.TempDir() // for what it leaves behind if it is killed
	cmd.Env = slices.Concat([]string{childEnv + "=yes", "GOTRACEBACK=none"},
		os.Environ(), cmd.Env, []string{"TMPDIR=" + dir, "TMP=" + dir,
			"TEMP=" + dir})
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
	var before []string
	for c.lines.Scan() {
		if strings.Contains(c.lines.Text(), text) {
			return
		}
		before = append(before, c.lines.Text())
	}
	require.Fail(t, "it ended before it printed "+text,
		strings.Join(before, "\n"))
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

// A lesson that breaks its promise ends with status 1, whichever of its runs it
// was, and each run is named before and judged after.
func TestBrokenLesson(t *testing.T) {
	playBroken := func(_ context.Context, s *scene, failed bool) verdict {
		s.log.Info("played", "seed", s.seed)
		s.release = func() { s.log.Info("released") }
		return verdict{fmt.Sprintf("failed %t", failed), failed}
	}
	run := func(failed bool) sceneRun {
		return sceneRun{
			name: "f", place: "f.go:1",
			play: func(ctx context.Context, s *scene) verdict {
				return playBroken(ctx, s, failed)
			},
		}
	}
	fails, works, void := run(true), run(false), run(false)
	void.play = func(ctx context.Context, s *scene) verdict {
		playBroken(ctx, s, false)
		return verdict{}
	}
	tests := []struct {
		name, side string
		list       []sceneRun
		want       error
	}{
		{"both mistakes fail", "mistake", []sceneRun{fails, fails}, nil},
		{"the first does not", "mistake", []sceneRun{works, fails}, errBroken},
		{"the second does not", "mistake", []sceneRun{fails, works}, errBroken},
		{"both fixes work", "fix", []sceneRun{works, works}, nil},
		{"the first does not", "fix", []sceneRun{fails, works}, errBroken},
		{"the second does not", "fix", []sceneRun{works, fails}, errBroken},
		{"the second is not played", "fix", []sceneRun{works, void}, errBroken},
	}
	line := regexp.MustCompile(`(?m)^(--- \w+|t=\S+ msg=(played seed=7|` +
		`released)|\w+ \d\.99: (failed (true|false)|it could not be played)$)`)
	for _, tt := range tests {
		t.Run(tt.side+": "+tt.name, func(t *testing.T) {
			var out bytes.Buffer
			l := lesson{number: 99, mistakes: tt.list, fix: tt.list}
			err := l.perform(t.Context(), &out, 7, tt.side)
			assert.Equal(t, tt.want, err, "what perform returns")
			assert.Len(t, line.FindAllString(out.String(), -1), 8, out.String())
		})
	}
	assert.Equal(t, 1, status(errBroken), "exit status")
}

// A run that needs real time has it. What it has measured is masked.
func TestRealTimeRun(t *testing.T) {
	measure := func(ctx context.Context, s *scene, what string) verdict {
		inTheBubble := time.Now().Year() == 2000
		s.log.Info(what, "pid", os.Getpid(), "bubble", inTheBubble)
		return verdict{text: fmt.Sprintf("took %v", time.Since(s.start))}
	}
	list := inRealTime([]sceneRun{{
		name: "f", place: "f.go:1",
		play: func(ctx context.Context, s *scene) verdict {
			return measure(ctx, s, "measured")
		},
	}})
	theLessons := lessons
	defer func() { lessons = theLessons }()
	lessons = []lesson{{number: 99, fix: list}}
	assert.Equal(t, fmt.Sprintf("watch \n--- fix %d.99: f (f.go:1)\n"+
		"t=<time> msg=measured pid=<pid> bubble=false\n"+
		"fix %d.99: took <time>\n", part, part),
		outputOf(t, list, "fix", fmt.Sprintf("%d.99", part)))
}

// A run that was interrupted has no verdict, and counts as a failure.
func TestInterruptedLesson(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	play := func(context.Context, *scene) verdict {
		cancel()
		return verdict{text: "all is well"}
	}
	var out bytes.Buffer
	l := lesson{number: 99, fix: []sceneRun{{play: play}}}
	err := l.perform(ctx, &out, 1, "fix")
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, status(err), "exit status")
	assert.NotContains(t, out.String(), "all is well")

	// While it is built, too: the signal reaches go as well.
	ctx, cancel = context.WithCancel(t.Context())
	l = lesson{number: 99, fix: []sceneRun{{child: &child{
		binary: func() (string, func(), error) {
			cancel()
			return "", nil, errors.New("go build: signal: interrupt")
		},
	}}}}
	assert.EqualError(t, l.perform(ctx, &out, 1, "fix"),
		"interrupted: context canceled")
}

// The exit status of joined errors: a plain failure decides.
func TestStatus(t *testing.T) {
	failed, usage := errors.New("failed"), usageError("usage")
	for _, tt := range []struct {
		want int
		err  error
	}{
		{0, nil},
		{0, flag.ErrHelp},
		{0, errors.Join(flag.ErrHelp)},
		{1, failed},
		{2, usage},
		{2, fmt.Errorf("wrapped: %w", usage)},
		{2, errors.Join(usage)},
		{1, errors.Join(failed, usage)},
		{1, errors.Join(usage, failed)},
		{1, errors.Join(usage, errors.Join(failed), usage)},
	} {
		assert.Equal(t, tt.want, status(tt.err), "status of %v", tt.err)
	}
}

// A write that fails is a failure of the run: the disk is full, for example.
func TestOutputFails(t *testing.T) {
	full := errors.New("no space left on device")
	err := run(t.Context(), []string{"lessons"}, writer(
		func([]byte) (int, error) { return 0, full }))
	assert.ErrorIs(t, err, full)
	assert.Equal(t, 1, status(err), "exit status")
}

// Goroutines may print at the same time. (Without its lock, an output loses
// lines, and under -race it is reported.)
func TestOutputIsShared(t *testing.T) {
	var buffer bytes.Buffer
	out := &output{to: &buffer}
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range 100 {
				fmt.Fprintln(out, "a line")
			}
		})
	}
	writers.Wait()
	assert.Equal(t, 800, strings.Count(buffer.String(), "a line\n"), "lines")
}

// A writer is a function that is an io.Writer.
type writer func([]byte) (int, error)

// Write implements io.Writer.
func (w writer) Write(p []byte) (int, error) { return w(p) }

// selfEnv is set in a process of this test: to what it should do.
const selfEnv = "MAYHEM_SELF"

// A child that hangs is killed. Here the child is this very test, in a process
// of its own. If watch did not kill it, it would end by itself, with status 0.
func TestHangingChild(t *testing.T) {
	if os.Getenv(selfEnv) == "hang" {
		time.Sleep(3 * time.Second) // for real: its parent is to kill it
		os.Exit(0)
	}
	e := watchSelf(t, "hang", 200*time.Millisecond)
	assert.Equal(t, "still running after 200ms", e.how)
	assert.Equal(t, -1, e.code, "exit status of a killed process")
}

// A child that is killed at a line is started again, in the same temporary
// folder. That folder is removed in the end.
func TestRestartedChild(t *testing.T) {
	mark := filepath.Join(os.TempDir(), "mark")
	switch _, err := os.Stat(mark); {
	case os.Getenv(selfEnv) != "return":
	case err != nil:
		os.WriteFile(mark, nil, 0o600)
		fmt.Println("at work")
		time.Sleep(3 * time.Second) // for real: its parent is to kill it
		os.Exit(0)
	default:
		fmt.Println(mark)
		os.Exit(7)
	}
	t.Setenv(selfEnv, "return")
	runSelf(t)
	var out bytes.Buffer
	e, err := (&child{killAt: "at work"}).watch(
		t.Context(), &out, 0, "-test.run=^"+t.Name()+"$")
	require.NoError(t, err)
	assert.Equal(t, 7, e[0].code, "exit status")
	first, mark, _ := strings.Cut(strings.TrimSpace(e[0].printed), "\n")
	assert.Equal(t, "at work", first)
	assert.Equal(t, "at work\nkilled, and started again\n"+mark+"\n",
		out.String())
	assert.NoDirExists(t, filepath.Dir(mark))
}

// A child may not start a child, or a bug in the kit could become a fork bomb.
func TestNoGrandchildren(t *testing.T) {
	if os.Getenv(selfEnv) == "multiply" {
		_, err := (&child{}).watch(t.Context(), io.Discard, 0, "lessons")
		fmt.Println(err)
		os.Exit(7)
	}
	e := watchSelf(t, "multiply", 30*time.Second)
	assert.Equal(t, 7, e.code, "exit status")
	assert.Equal(t, errGrandchild.Error()+"\n", e.printed)
}

// A child has the seed that the command was given.
func TestChildHasTheSeed(t *testing.T) {
	t.Setenv(selfEnv, "arguments")
	runSelf(t)
	var out bytes.Buffer
	c := &child{verdict: func(endings []ending) verdict {
		return verdict{text: endings[0].how}
	}}
	l := lesson{number: 99, fix: []sceneRun{{child: c}}}
	assert.NoError(t, l.perform(t.Context(), &out, 7, "fix"))
	assert.Contains(t, out.String(), "\n[-seed 7 fix 99]\n")
	out.Reset()
	assert.NoError(t, l.perform(t.Context(), &out, 7, "fix", "-more=x"))
	assert.Contains(t, out.String(), "\n[-seed 7 -more=x fix 99]\n")
}

// A child has the variables that its lesson gives it, and the output says so.
func TestChildHasItsVariables(t *testing.T) {
	t.Setenv(selfEnv, "environment")
	runSelf(t)
	var out bytes.Buffer
	c := &child{env: []string{"MAYHEM_MORE=much"}}
	_, err := c.watch(t.Context(), &out, 0)
	require.NoError(t, err)
	assert.Equal(t, "much\n", out.String())
	assert.Contains(t, c.note(), "with MAYHEM_MORE=much\n")
}

// A command accepts the flags that are for lessons, and passes them on.
func TestLessonFlag(t *testing.T) {
	t.Setenv(selfEnv, "arguments")
	runSelf(t)
	theLessons := lessons
	defer func() { lessons = theLessons }()
	c := &child{verdict: func([]ending) verdict { return verdict{text: "x"} }}
	lessons = []lesson{{number: 99, fix: []sceneRun{{child: c}}}}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.Uint64("seed", 1, "")
	flags.Bool("plain", false, lessonFlag+"do without")
	flags.Bool("fast", false, "hurry")
	words := []string{"fix", "99"}
	var out bytes.Buffer
	require.NoError(t, flags.Parse([]string{"-plain"}))
	assert.NoError(t, command(t.Context(), &out, flags, words))
	assert.Contains(t, out.String(), "\n[-seed 1 -plain=true fix 99]\n")
	require.NoError(t, flags.Parse([]string{"-fast"}))
	assert.EqualError(t, command(t.Context(), &out, flags, words),
		`-fast is for the service, not for "fix"`)
}

// A child that can't be started is an error of the lesson.
func TestChildFails(t *testing.T) {
	theProgram := program
	defer func() { program = theProgram }()
	noGo := errors.New("go: not found")
	program = func(bool) (string, func(), error) { return "", nil, noGo }
	l := lesson{number: 99, fix: []sceneRun{{child: &child{}}}}
	assert.ErrorIs(t, l.perform(t.Context(), io.Discard, 1, "fix"), noGo)

	program = func(bool) (string, func(), error) {
		return filepath.Join(t.TempDir(), "none"), func() {}, nil
	}
	assert.ErrorIs(t, l.perform(t.Context(), io.Discard, 1, "fix"),
		os.ErrNotExist)
}

// Each run is named after its function, at the line where that begins.
func TestPlaces(t *testing.T) {
	for _, l := range lessons {
		assert.NotEmpty(t, l.watch, "%d: what to look at", l.number)
		for _, r := range slices.Concat(l.mistakes, l.fix) {
			file, line, _ := strings.Cut(r.place, ":")
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			n, err := strconv.Atoi(line)
			require.NoError(t, err, r.place)
			assert.Regexp(t, `^func (\(.*\) )?`+r.name+`\(`,
				strings.Split(string(text), "\n")[n-1], r.place)
		}
	}
}

// runSelf makes this very test binary the program that children run.
func runSelf(t *testing.T) {
	t.Helper()
	theProgram := program
	t.Cleanup(func() { program = theProgram })
	program = func(bool) (string, func(), error) {
		path, err := os.Executable()
		return path, func() {}, err
	}
}

// watchSelf runs the calling test in a child.
func watchSelf(t *testing.T, what string, wait time.Duration) ending {
	t.Helper()
	t.Setenv(selfEnv, what)
	runSelf(t)
	theWait := childWait
	defer func() { childWait = theWait }()
	childWait = wait
	e, err := (&child{}).watch(
		t.Context(), io.Discard, 0, "-test.run=^"+t.Name()+"$")
	require.NoError(t, err)
	return e[0]
}
