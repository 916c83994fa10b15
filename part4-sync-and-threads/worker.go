package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// workerEnv is set in a worker: to what it does. A worker stands for a program
// that is not ours, in lessons 8 and 9. It is this program, and it starts no
// other.
const workerEnv = "MAYHEM_WORKER"

// whileInput is added for a worker that ends when its input does.
const whileInput = " while it has input"

// workerTime is how long a worker works.
const workerTime = 2 * time.Second

// newWorker returns a command that starts a worker. It ends with ctx.
func newWorker(ctx context.Context, what string) (*exec.Cmd, error) {
	path, _, err := program(false)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, "lessons") // no more, at worst
	cmd.Env = append(os.Environ(), workerEnv+"="+what,
		"GORACE=atexit_sleep_ms=0")
	return cmd, nil
}

// beWorker does what a worker does, and returns when that is done. A worker
// that listens to TERM is done when ctx ends.
func beWorker(ctx context.Context, what string) {
	switch what {
	case "prints": // 100 kB, more than a pipe holds
		for i := range 1000 {
			fmt.Fprintf(os.Stderr, "%-99d\n", i+1) // logs go there
		}
	case "prints a long line":
		fmt.Printf("%s\n%s", strings.Repeat("x", 200_000),
			strings.Repeat("line\n", 999))
	case "works":
		fmt.Println("worker: working")
		beWorker(ctx, "works quietly")
	case "works quietly":
		sleep(ctx, workerTime)
		fmt.Println("worker: done")
	case "works" + whileInput:
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
		beWorker(ctx, "works")
	case "ignores TERM":
		fmt.Println("worker: working")
		<-ctx.Done()
		fmt.Println("worker: asked to end")
		for range 100 { // a pipe that nobody reads ends it, too
			time.Sleep(100 * time.Millisecond)
			fmt.Println("worker: still working")
		}
	}
}
