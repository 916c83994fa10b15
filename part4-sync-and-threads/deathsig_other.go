//go:build !linux

package main

import "os/exec"

// killWithThread does nothing here. We use it only on Linux.
func killWithThread(*exec.Cmd) {}
