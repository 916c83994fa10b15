//go:build !linux

package main

import "os/exec"

// killWithThread does nothing here: only Linux can do that.
func killWithThread(*exec.Cmd) {}
