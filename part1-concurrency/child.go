package main

import (
	"bytes"
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

// childEnv is set in a child: to the number of the act that it plays, if it
// plays one.
const childEnv = "MAYHEM_CHILD"

// ourAct returns the act that we play, if we are a child that plays one.
func ourAct() (i int, ok bool) {
	i, err := strconv.Atoi(os.Getenv(childEnv))
	return i, err == nil
}

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
	if os.Getenv(childEnv) != "" {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
	}
}

// watch lets a child play an act and relays what it prints. The verdict is ours
// then, for a process that dies can't give one. It blocks until the child has
// ended, which we bring about when our patience is at its end.
func watch(
	ctx context.Context, out io.Writer, a act, i int, args ...string,
) (v verdict, err error) {
	path, remove, err := program(a.race)
	if err != nil {
		return v, err
	}
	defer remove()
	ctx, cancel := context.WithTimeout(ctx, waits)
	defer cancel()
	var printed bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append([]string{"GOTRACEBACK=none", // unless you say otherwise
		"GORACE=atexit_sleep_ms=0"},
		append(os.Environ(), fmt.Sprintf("%s=%d", childEnv, i))...)
	cmd.Stdout = io.MultiWriter(out, &printed)
	cmd.Stderr = cmd.Stdout
	if _, err = cmd.StdinPipe(); err != nil { // open as long as the child runs
		return v, err
	}
	err = cmd.Run()
	switch why := reason.FindSubmatch(printed.Bytes()); {
	case cmd.ProcessState == nil:
		return v, err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		hung := fmt.Sprintf("still running after %v", waits)
		return verdict{hung, true}, nil
	case a.race && why != nil: // it ran to its end, but for what it showed
		return verdict{fmt.Sprintf("ended, %v, %s", err, why[1]), true}, nil
	case why != nil:
		return verdict{fmt.Sprintf("died, %v, %s", err, why[1]), true}, nil
	case err != nil:
		return verdict{fmt.Sprintf("died, %v", err), true}, nil
	}
	return verdict{"ended, exit status 0", false}, nil
}

// reason finds what a Go program says when it dies.
var reason = regexp.MustCompile(
	`(?m)^(?:panic|fatal error|WARNING): (.*?)(?: \[recovered.*)?$`)
