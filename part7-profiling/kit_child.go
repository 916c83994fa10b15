package main

import (
	"bufio"
	"context"
	"errors"
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
	"time"
)

// A child says how a run gets a process of its own. A process that dies can't
// give a verdict, so the one that started it does.
type child struct {
	verdict func([]ending) verdict // nil means died
	runs    int                    // how many processes; 0 means one
	race    bool                   // built with the race detector
	alone   bool                   // the run has the only goroutine
	hangs   bool                   // it is expected not to end
	shell   string                 // a script that runs it, as "$0" "$@"
	gets    string                 // which signals, and when: for the note
	same    string                 // a command that does the same: for the note
	only    string                 // what it needs: "linux", "unix"
	env     []string               // variables for it: "GODEBUG=..."

	// binary returns the path of the program that it runs, and a function that
	// removes it again, and args its arguments in each of its runs. They are
	// nil if it runs our own program and plays a lesson.
	binary func() (path string, remove func(), err error)
	args   func(run int) []string

	// cutAt is the text of the last line that is shown, if it is printed. If
	// shows is not nil, it reports which lines are.
	cutAt string
	shows func(line string) bool

	// killAt is the text of a line at which the process is killed. Then it is
	// started again, in the same temporary folder, and runs to its end.
	killAt string

	// onLine is called for each line that it prints, and may send it a signal.
	onLine func(line string, p *os.Process)
}

// inChild gives runs processes of their own.
func inChild(c child, list []sceneRun) []sceneRun {
	for i := range list {
		list[i].child = &c
	}
	return list
}

// note returns a line that says what there is to wait for. A nil child needs
// none.
func (c *child) note() string {
	note := ""
	switch {
	case c == nil:
		return ""
	case c.shell != "":
		note = "run by sh -c '" + c.shell + "'\n"
	case c.runs > 1:
		note = fmt.Sprintf("%d runs, which are not shown\n", c.runs)
	case c.race:
		note = "building with -race\n"
	}
	if len(c.env) > 0 {
		note += "with " + strings.Join(c.env, " ") + "\n"
	}
	if c.gets != "" {
		note += "it gets " + c.gets + "\n"
	}
	if c.same != "" {
		note = "$ " + c.same + "\n" + note
	}
	if c.runs <= 1 && !c.race && c.binary == nil {
		note += fmt.Sprintf("watching for %v at most\n", childTime)
	}
	return note
}

// elsewhere reports whether the run needs another system than this one. A nil
// child runs everywhere.
func (c *child) elsewhere() bool {
	return c != nil && c.only != "" && c.only != runtime.GOOS &&
		(c.only != "unix" || runtime.GOOS == "windows")
}

// verdictOn returns the verdict on what became of the processes.
func (c *child) verdictOn(endings []ending) verdict {
	if c.verdict == nil {
		return died(endings)
	}
	return c.verdict(endings)
}

// An ending is what became of a process.
type ending struct {
	code    int    // its exit status, -1 if it had none
	how     string // "exit status 2", "still running after 5s"
	why     string // what Go said when the program died, if it did
	printed string // on both outputs
}

// died is the verdict on a process that should have died, or hung.
func died(endings []ending) verdict {
	e := endings[0]
	switch {
	case e.code == 0:
		return verdict{text: "ended, " + e.how}
	case e.why != "":
		return verdict{"died, " + e.how + ", " + e.why, true}
	}
	return verdict{e.how, true}
}

// childEnv is set in a child: to the number of its run, if it has one.
const childEnv = "MAYHEM_CHILD"

// aloneSuffix follows the number of a run that has no other goroutine.
const aloneSuffix = " alone"

// programEnv is set in a child: to the path of our program, which it may be.
const programEnv = "MAYHEM_PROGRAM"

// ourRun returns the number of our run, if we are a child that has one.
func ourRun() (i int, ok bool) {
	i, err := strconv.Atoi(strings.TrimSuffix(os.Getenv(childEnv), aloneSuffix))
	return i, err == nil
}

// childTime is how long a child may take. One that takes longer hangs.
const childTime = 5 * time.Second

// How long we wait for a child. The tests, on a slow machine, wait longer for
// one that should end, and not as long for a hang that is on record.
var (
	childWait = childTime
	hangWait  = childTime // for a child that hangs
)

// wait returns how long we wait for a child.
func (c *child) wait() time.Duration {
	if c.hangs {
		return hangWait
	}
	return childWait
}

// program returns the path of the program that children run, and a function
// that removes it again. It is our own program, unless the race detector is
// needed and is not in it: then we build it, with Go and a C compiler.
var program = func(race bool) (path string, remove func(), err error) {
	if !race || builtWithRace() {
		path, err = os.Executable()
		return path, func() {}, err
	}
	dir, err := os.MkdirTemp("", "mayhem")
	if err != nil {
		return "", nil, err
	}
	path, err = build(dir, "build", "-race", ourPackage())
	if err != nil {
		os.RemoveAll(dir)
	}
	return path, func() { os.RemoveAll(dir) }, err
}

// ourPackage returns the import path of this package.
func ourPackage() string {
	info, _ := debug.ReadBuildInfo()
	return info.Path
}

// builtWithRace reports whether the race detector is in this program.
func builtWithRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings,
		debug.BuildSetting{Key: "-race", Value: "true"})
}

// build has a command of go, "build" or "test", build a program in dir, and
// returns its path.
func build(dir, command string, args ...string) (path string, err error) {
	path = filepath.Join(dir, "mayhem.exe") // Windows wants the suffix
	args = append([]string{command, "-o", path}, args...)
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return path, err
}

// endWithParent ends a child when its standard input does, so that none stays
// behind. It returns at once; its goroutine lasts as long as the process.
func endWithParent() {
	env := os.Getenv(childEnv)
	if env == "" || strings.HasSuffix(env, aloneSuffix) {
		return // a goroutine that reads input would hide a deadlock
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}

// errGrandchild stops what could become a fork bomb.
var errGrandchild = errors.New("a child does not start a child")

// watch does run number i of a command in child processes, c.runs of them, and
// returns how each ended. The output of a single one is passed on. It blocks
// until the last has ended, and kills those that hang. A child may not call it.
func (c *child) watch(
	ctx context.Context, out io.Writer, i int, args ...string,
) (endings []ending, err error) {
	if os.Getenv(childEnv) != "" {
		return nil, errGrandchild
	}
	path, remove, err := program(c.race)
	if err != nil {
		return nil, err
	}
	defer remove()
	ours := programEnv + "=" + path
	if c.binary != nil {
		if i == 0 {
			fmt.Fprintln(out, "building what it runs")
		}
		if path, remove, err = c.binary(); err != nil {
			return nil, err
		}
		defer remove()
	}
	if c.runs > 1 {
		out = io.Discard
	}
	for run := range max(1, c.runs) {
		if c.args != nil {
			args = c.args(run)
		}
		e, err := c.watchOne(ctx, out, path, i, args, ours)
		if err != nil {
			return nil, err
		}
		endings = append(endings, e)
	}
	return endings, nil
}

// watchOne does it in one process, which has a temporary folder of its own. If
// there is a line to kill it at, it does it in two, one after the other.
func (c *child) watchOne(
	ctx context.Context, out io.Writer, path string, i int, args []string,
	env ...string,
) (e ending, err error) {
	dir, err := os.MkdirTemp("", "mayhem")
	if err != nil {
		return e, err
	}
	defer os.RemoveAll(dir) // with what it leaves there if it dies
	ctx, cancel := context.WithTimeout(ctx, c.wait())
	defer cancel()
	printed := ""
	if c.killAt != "" {
		e, err = c.life(ctx, out, path, i, args, dir, c.killAt, env...)
		if err != nil || !strings.Contains(e.printed, c.killAt) {
			return e, err // it ended by itself
		}
		fmt.Fprintln(out, "killed, and started again")
		printed = e.printed
	}
	e, err = c.life(ctx, out, path, i, args, dir, "", env...)
	e.printed = printed + e.printed
	return e, err
}

// life starts a process and returns how it ended. It kills the process at a
// line with the text killAt, if that is not empty, or when ctx ends.
func (c *child) life(
	ctx context.Context, out io.Writer, path string, i int, args []string,
	dir, killAt string, more ...string,
) (e ending, err error) {
	cmd := exec.CommandContext(ctx, path, args...)
	if c.shell != "" {
		args = append([]string{"-c", c.shell, path}, args...)
		cmd = exec.CommandContext(ctx, "sh", args...)
	}
	env := fmt.Sprintf("%s=%d", childEnv, i)
	if c.alone {
		env += aloneSuffix
	} else if _, err = cmd.StdinPipe(); err != nil { // open to the end
		return e, err
	}
	cmd.Env = append([]string{"GOTRACEBACK=none", // unless you say otherwise
		"GORACE=atexit_sleep_ms=0"}, append(os.Environ(), env,
		"TMPDIR="+dir, "TMP="+dir, "TEMP="+dir)...) // Unix, Windows
	cmd.Env = append(append(cmd.Env, more...), c.env...)
	r, w, err := os.Pipe()
	if err != nil {
		return e, err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close() // the child has it
	if err != nil {
		return e, err
	}
	var printed strings.Builder
	lines := bufio.NewReader(r)
	for err == nil {
		var line string
		line, err = lines.ReadString('\n')
		printed.WriteString(line)
		if c.shows == nil || c.shows(line) {
			io.WriteString(out, line)
		}
		if c.cutAt != "" && strings.Contains(line, c.cutAt) {
			out = io.Discard
		}
		if c.onLine != nil {
			c.onLine(line, cmd.Process)
		}
		if killAt != "" && strings.Contains(line, killAt) {
			cmd.Process.Kill()
		}
	}
	cmd.Wait() // what it returns is in the state, too
	e = ending{
		code:    cmd.ProcessState.ExitCode(),
		how:     cmd.ProcessState.String(),
		printed: printed.String(),
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.how = fmt.Sprintf("still running after %v", c.wait())
	}
	if m := reason.FindStringSubmatch(e.printed); m != nil {
		e.why = m[1]
	}
	return e, nil
}

// reason finds what Go says when a program dies.
var reason = regexp.MustCompile(
	`(?m)^(?:panic|fatal error): (.*?)(?: \[recovered.*)?$`)
