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

// workerEnv is set in a worker: to what it does. In lessons 8 and 9, a worker
// plays a program that is not ours. In fact it is our own, which then starts no
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
	cmd := exec.CommandContext(ctx, path, "lessons") // if it is no worker
	cmd.Env = append(os.Environ(), workerEnv+"="+what,
		"GORACE=atexit_sleep_ms=0")
	return cmd, nil
}

// beWorker does what a worker does, and returns when that is done. A worker
// that listens to TERM is done when ctx ends.
func beWorker(ctx context.Context, what string) error {
	if what, yes := strings.CutSuffix(what, whileInput); yes {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
		return beWorker(ctx, what)
	}
	switch what {
	case "prints": // 100 kB, more than a pipe holds
		for i := range 1000 {
			fmt.Fprintf(os.Stderr, "%-99d\n", i+1) // logs go there
		}
	case "prints a long line":
		fmt.Printf("%s\n%s", strings.Repeat("x", 200_000),
			strings.Repeat("line\n", 998)+"the last one")
	case "works":
		fmt.Println("worker: working")
		return beWorker(ctx, "works quietly")
	case "works quietly":
		sleep(ctx, workerTime)
		fmt.Println("worker: done")
	case "ignores TERM":
		fmt.Println("worker: working")
		<-ctx.Done()
		fmt.Println("worker: asked to end")
		for range 100 { // SIGPIPE ends it when its reader is gone
			time.Sleep(100 * time.Millisecond)
			fmt.Println("worker: still working")
		}
	default:
		return usageError(fmt.Sprintf("%s=%s: no such worker", workerEnv, what))
	}
	return nil
}
