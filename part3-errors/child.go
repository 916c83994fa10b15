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
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A child is an act's process. There is nobody to give a verdict in a process
// that dies, so the one that watches it judges.
type child struct {
	judge func([]ending) verdict // nil is died
	runs  int                    // how often it plays, for a share; 0 is once
	race  bool                   // the race detector watches it
	alone bool                   // nothing else goes on in it

	// poke is called for each line that it prints, and may send it a signal.
	poke func(line string, p *os.Process)
}

// inChild has acts play in processes of their own.
func inChild(c child, list []act) []act {
	for i := range list {
		list[i].child = &c
	}
	return list
}

// An ending is what became of a process.
type ending struct {
	code    int    // its exit status, -1 if it had none
	how     string // "exit status 2", "still running after 5s"
	why     string // what Go said when the program died, if it did
	printed string // on both outputs
}

// died judges by whether the process died, or would have lived for ever.
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

// childEnv is set in a child: to the number of the act that it plays, if it
// plays one.
const childEnv = "MAYHEM_CHILD"

// ourAct returns the act that we play, if we are a child that plays one.
func ourAct() (i int, ok bool) {
	i, err := strconv.Atoi(strings.TrimSuffix(os.Getenv(childEnv), aloneEnv))
	return i, err == nil
}

// aloneEnv follows the number of an act that plays alone.
const aloneEnv = " alone"

// patience is how long a child may take.
const patience = 5 * time.Second

// waits is how long we wait for one. A hang that is on record need not be
// waited for in full again, so the proofs shorten it.
var waits = patience

// program returns the path of the program that children run, and what removes
// it again. It is our own; if the race detector shall watch, and does not yet,
// we have it built for that: a child needs Go then, and a C compiler.
var program = func(race bool) (path string, remove func(), err error) {
	info, ok := debug.ReadBuildInfo()
	if !race || ok && slices.Contains(info.Settings,
		debug.BuildSetting{Key: "-race", Value: "true"}) {
		path, err = os.Executable()
		return path, func() {}, err
	}
	dir, err := os.MkdirTemp("", "mayhem")
	if err != nil {
		return "", nil, err
	}
	path, err = build(dir, "-race", info.Path)
	return path, func() { os.RemoveAll(dir) }, err
}

// build builds a program and returns its path.
func build(dir string, args ...string) (path string, err error) {
	path = filepath.Join(dir, "mayhem.exe") // Windows wants the suffix
	args = append([]string{"build", "-o", path}, args...)
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
	if env == "" || strings.HasSuffix(env, aloneEnv) {
		return // one who waits for input is not asleep
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}

// watch lets a process play act number i of what the arguments say, and returns
// what became of it. It relays what it prints, unless it plays often. It blocks
// until the last has ended, which we bring about when our patience is at its
// end.
func (c *child) watch(
	ctx context.Context, out io.Writer, i int, args ...string,
) (endings []ending, err error) {
	path, remove, err := program(c.race)
	if err != nil {
		return nil, err
	}
	defer remove()
	if c.runs > 1 {
		out = io.Discard
	}
	for range max(1, c.runs) {
		e, err := c.watchOne(ctx, out, path, i, args)
		if err != nil {
			return nil, err
		}
		endings = append(endings, e)
	}
	return endings, nil
}

func (c *child) watchOne(
	ctx context.Context, out io.Writer, path string, i int, args []string,
) (e ending, err error) {
	ctx, cancel := context.WithTimeout(ctx, waits)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	env := fmt.Sprintf("%s=%d", childEnv, i)
	if c.alone {
		env += aloneEnv
	} else if _, err = cmd.StdinPipe(); err != nil { // open to the end
		return e, err
	}
	cmd.Env = append([]string{"GOTRACEBACK=none", // unless you say otherwise
		"GORACE=atexit_sleep_ms=0"}, append(os.Environ(), env)...)
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
		io.WriteString(out, line)
		if c.poke != nil {
			c.poke(line, cmd.Process)
		}
	}
	cmd.Wait() // what it returns is in the state, too
	e = ending{
		code:    cmd.ProcessState.ExitCode(),
		how:     cmd.ProcessState.String(),
		printed: printed.String(),
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.how = fmt.Sprintf("still running after %v", waits)
	}
	if m := reason.FindStringSubmatch(e.printed); m != nil {
		e.why = m[1]
	}
	return e, nil
}

// reason finds what Go says when a program dies.
var reason = regexp.MustCompile(
	`(?m)^(?:panic|fatal error): (.*?)(?: \[recovered.*)?$`)
