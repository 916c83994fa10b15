package main

import (
	"os/exec"
	"syscall"
)

// killWithThread has the kernel kill the process of a command when the thread
// that has started it ends.
func killWithThread(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
