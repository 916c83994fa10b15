// Lesson 6.2: who started it?
//
// A dump shows eight extenders that should not be there. Which messages are
// they for, and which code has started them?

package main

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// unnamed is the mistake. Nothing says which message the goroutine is for.
func unnamed(
	ctx context.Context, d *Delivery, handle func(context.Context),
) {
	handle(ctx)
}

// The fix is labelled, which the service uses.
var _ startFunc = labelled

// dumpAll handles ten messages and asks the debug pages for a dump: the stack
// of each goroutine, one by one. It shows the first of the extenders.
func dumpAll(ctx context.Context, s *scene, start startFunc) verdict {
	handleTen(ctx, s, planted(ctx), start)
	m := &Mandrill{slots: 10}
	_, dump := ask(ctx, m.debugPages(), "/debug/pprof/goroutine?debug=2")
	var found []string
	for stack := range strings.SplitSeq(dump, "\n\n") {
		if strings.Contains(stack, extenderWaits) {
			found = append(found, narrow(stack))
		}
	}
	s.log.Info("dumped", "extenders", len(found),
		"with_message", matching(found, `"msg": "m\d+"`),
		"with_origin", matching(found, `\bmain\.handleTen\b`))
	if len(found) > 0 {
		slices.SortFunc(found, func(a, b string) int {
			_, a, _ = strings.Cut(a, "[") // by the message
			_, b, _ = strings.Cut(b, "[")
			return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
		})
		fmt.Println(strings.TrimSpace(ofGo.ReplaceAllString(found[0], "")))
	}
	return verdict{}
}

// ofGo matches the calls in Go's own files.
var ofGo = regexp.MustCompile(`(?m)^(created by )?(runtime|sync)\S+\n\t\S+\n?`)

// matching returns how many of the texts match.
func matching(texts []string, pattern string) (n int) {
	for _, text := range texts {
		if regexp.MustCompile(pattern).MatchString(text) {
			n++
		}
	}
	return n
}

// judgeDumped is the verdict on what the dump says of the extenders.
func judgeDumped(endings []ending) verdict {
	e := endings[0]
	m := regexp.MustCompile(
		`extenders=(\d+) with_message=(\d+) with_origin=(\d+)`).
		FindStringSubmatch(e.printed)
	if m == nil {
		return verdict{}
	}
	n, _ := strconv.Atoi(m[1])
	return extendersIn(e.printed, n, fmt.Sprintf(
		"%s name a message, %s name handleTen", m[2], m[3]),
		m[2] != m[1] || m[3] != m[1])
}

var lesson02 = lesson{
	number: 2, title: "who started it?",
	watch:    "what the dump says about the first extender",
	mistakes: inChild(child{verdict: judgeDumped}, runs(dumpAll, unnamed)),
	fix: inChild(child{
		verdict: judgeDumped, env: []string{"GODEBUG=tracebackancestors=1"},
	}, runs(dumpAll, labelled)),
}
