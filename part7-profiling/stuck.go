package main

import (
	"regexp"
	"runtime"
	"strings"
)

// stuck returns the stacks of the goroutines that work on a message, count its
// delivery or settle it, without the arguments of their functions. It is for
// the end of a process: it stops the world, and what doesn't fit into 16 MB is
// missing.
func stuck() string {
	all := make([]byte, 16<<20)
	all = all[:runtime.Stack(all, true)]
	var found strings.Builder
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		if handling.MatchString(stack) {
			stack = arguments.ReplaceAllString(stack, "(...)")
			found.WriteString(strings.TrimSpace(stack) + "\n\n")
		}
	}
	return found.String()
}

// handling matches in the stack of whatever has a message.
var handling = regexp.MustCompile(
	`\.\(\*Mandrill\)\.(try|countDelivery|settle)\(`)

// arguments matches the arguments of a function in a stack.
var arguments = regexp.MustCompile(`(?m)\((0x|\{|_).*\)$`)
