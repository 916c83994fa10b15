package main

import (
	"regexp"
	"runtime"
	"strings"
)

// stuck returns the stacks of the goroutines that work on a message, without
// the arguments of their functions. It is for the end of a process: it stops
// the world, and what doesn't fit into 16 MB is missing.
func stuck() string {
	all := make([]byte, 16<<20)
	all = all[:runtime.Stack(all, true)]
	var found strings.Builder
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		if strings.Contains(stack, ".(*Mandrill).try(") {
			stack = arguments.ReplaceAllString(stack, "(...)")
			found.WriteString("\n" + strings.TrimSpace(stack) + "\n")
		}
	}
	return found.String()
}

// arguments matches the arguments of a function in a stack.
var arguments = regexp.MustCompile(`(?m)\((0x|\{).*\)$`)
