package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
)

// labelled calls f with the labels of a delivery on the current goroutine. The
// goroutines that f starts inherit them, and so do those that they start, for
// as long as they live. The goroutine profile, the CPU profile and dumps show
// them. labelled also marks the moment in the execution trace. A handler's
// goroutine calls it first, so it also makes the stack grow.
func labelled(ctx context.Context, d *Delivery, f func(context.Context)) {
	growStack(0)
	trace.Log(ctx, "handling", d.ID)
	pprof.Do(ctx, labelsOf(d), f)
}

// growStack makes the stack of a new goroutine grow to 4 KB while there is next
// to nothing on it to move. A handler needs more than the first 2 KB anyway, as
// lesson 6 shows. CockroachDB has such a function, too (pkg/util/growstack).
//
//go:noinline
func growStack(at int) byte {
	var room [2048]byte
	return room[at]
}

// labelsOf returns the labels of a delivery.
func labelsOf(d *Delivery) pprof.LabelSet {
	return pprof.Labels("msg", d.ID, "attempt", strconv.Itoa(d.Attempt))
}

// A stack is what a goroutine is doing, or what several of them are doing.
type stack struct {
	goroutines int      // that have the same stack and the same labels
	labels     string   // {"attempt":"1", "msg":"m7"}
	calls      []string // "hanging.func1 (hosts.go:49)", the innermost first
}

// stacks returns the stacks of all goroutines. It reads the profile in the form
// that is meant for people, because that is the one that has both labels and
// lines without another library.
func stacks() (list []stack) {
	var text bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&text, 1) // a Buffer never fails
	for record := range strings.SplitSeq(text.String(), "\n\n") {
		var s stack
		for line := range strings.Lines(record) {
			if m := countLine.FindStringSubmatch(line); m != nil {
				s.goroutines, _ = strconv.Atoi(m[1])
			} else if m := labelLine.FindStringSubmatch(line); m != nil {
				s.labels = m[1]
			} else if m := callLine.FindStringSubmatch(line); m != nil {
				s.calls = append(s.calls, fmt.Sprintf("%s (%s)",
					m[1], filepath.Base(m[2])))
			}
		}
		list = append(list, s)
	}
	return list
}

// The lines of a goroutine profile:
//
//	2 @ 0x47bd6e 0x46f5a5 0x70bd3c
//	# labels: {"attempt":"1", "msg":"m7"}
//	#	0x70bd3b	main.hanging.func1+0xbb	/mayhem/hosts.go:38
var (
	countLine = regexp.MustCompile(`^(\d+) @ `)
	labelLine = regexp.MustCompile(`^# labels: (.*)\n`)
	callLine  = regexp.MustCompile(
		`^#\t0x\w+\t(?:\S+/)?[^./]+\.(\S+)\+0x\w+\t+(.+:\d+)`)
)

// wears reports whether a stack has the labels of a delivery. It may have
// others as well. (A quote in a label is escaped, so no label looks like
// another.)
func (s stack) wears(d *Delivery) bool {
	return strings.Contains(s.labels, fmt.Sprintf(`"msg":%q`, d.ID)) &&
		strings.Contains(s.labels, fmt.Sprintf(`"attempt":"%d"`, d.Attempt))
}

// messageGoroutines returns how many goroutines wear the label of a message,
// whether that is still in flight or not.
func messageGoroutines() (n int) {
	for _, s := range stacks() {
		if strings.Contains(s.labels, `"msg":`) {
			n += s.goroutines
		}
	}
	return n
}

// perMessage is how many goroutines a message in flight has at most: the
// handler, an extension, the save and the restart. The save and the restart
// start none themselves. The lease keeper has none.
const perMessage = 4

// ceiling returns how many goroutines may wear the label of a message. There
// are more if one is left behind, if a library keeps one, or if the work starts
// some of its own.
func ceiling(slots int) int { return perMessage * slots }
