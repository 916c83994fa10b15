package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
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

// patience is how long a child may take. A recorded hang need not be waited for
// in full again, so the proofs shorten it.
var patience = 5 * time.Second

// program returns the path of the program that children run.
var program = os.Executable

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
	ctx context.Context, out io.Writer, i int, args ...string,
) (v verdict, err error) {
	path, err := program()
	if err != nil {
		return v, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var printed bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append([]string{"GOTRACEBACK=none"}, // unless you say otherwise
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
		hung := fmt.Sprintf("still running after %v", patience)
		return verdict{hung, true}, nil
	case why != nil:
		return verdict{fmt.Sprintf("died, %v, %s", err, why[1]), true}, nil
	case err != nil:
		return verdict{fmt.Sprintf("died, %v", err), true}, nil
	}
	return verdict{"ended, exit status 0", false}, nil
}

// reason finds what a Go program says when it dies.
var reason = regexp.MustCompile(
	`(?m)^(?:panic|fatal error): (.*?)(?: \[recovered.*)?$`)
