// Lesson 6.1: where is everybody?
//
// Ten messages have been handled, and goroutines of theirs still run. What is
// the process doing?

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	_ "net/http/pprof" // half of the second mistake: see shareTheMux
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// noPages is a mistake: there is nothing to ask. What is left is a signal that
// makes the process print the stacks of all goroutines, and die.
func noPages(m *Mandrill) (public, private http.Handler) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", answerOK)
	return mux, nil
}

// shareTheMux is a mistake, too. The import of net/http/pprof has put its pages
// on http.DefaultServeMux, and that is what serves the public.
func shareTheMux(m *Mandrill) (public, private http.Handler) {
	http.HandleFunc("GET /healthz", answerOK)
	return http.DefaultServeMux, http.DefaultServeMux
}

// useTwoMuxes is the fix. The public pages have a mux of their own, to which
// nothing else adds pages, and so have the debug pages of the service.
func useTwoMuxes(m *Mandrill) (public, private http.Handler) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", answerOK)
	return mux, m.debugPages()
}

// answerOK is the page that tells a load balancer that we are alive.
func answerOK(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "ok")
}

// A muxesFunc returns the pages for everyone and those for whoever has access
// to this machine, if there are any.
type muxesFunc func(m *Mandrill) (public, private http.Handler)

// lookAround handles ten messages. Then it asks the public pages and the debug
// pages for the profile of all goroutines. If there are no debug pages, it
// waits for the signal.
func lookAround(ctx context.Context, s *scene, muxes muxesFunc) verdict {
	debug.SetTraceback("single") // Go's default, which our children don't have
	public, private := muxes(&Mandrill{slots: 10})
	handleTen(ctx, s, planted(ctx), unnamed)
	status, _ := ask(ctx, public, inGroups)
	s.log.Info("the public asks for the stacks", "status", status)
	if private == nil {
		s.log.Info("there are no debug pages")
		<-ctx.Done()
		return verdict{}
	}
	status, profile := ask(ctx, private, inGroups)
	s.log.Info("we ask for the stacks", "status", status)
	showExtenders(profile)
	return verdict{}
}

// inGroups is the page with the stacks of all goroutines. Goroutines with the
// same stack, and the same labels, are one record.
const inGroups = "/debug/pprof/goroutine?debug=1"

// ask serves some pages at a port of their own, and asks for one of them.
func ask(
	ctx context.Context, pages http.Handler, page string,
) (status int, text string) {
	url, stop, err := serveDebug(quiet, "127.0.0.1:0", pages)
	if err != nil {
		return 0, err.Error()
	}
	defer stop()
	return get(ctx, url+page)
}

// get returns the status and the text of a page.
func get(ctx context.Context, url string) (status int, text string) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0, err.Error()
	}
	req.Close = true // leave no connection, and no goroutine that reads it
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// narrow shortens a record of a profile, or a stack, to fit 80 columns. It
// leaves out addresses, arguments and folders, and the line numbers in Go's own
// files.
func narrow(record string) string {
	for _, r := range []struct{ pattern, with string }{
		{`(?m) @( 0x[0-9a-f]+)+$`, " @ ..."},
		{`(?m)^#\t0x[0-9a-f]+\t(\S+?)\+0x[0-9a-f]+\t+`, "#   $1 "},
		{`(?m)\((0x|\{|_).*\)$`, "(...)"},
		{`\S*/src/(?:[\w/]+/)?(\w+\.(?:go|s)):\d+`, "$1"},
		{`\S*/(\w+\.go:\d+)`, "$1"},
		{`asm_\w+\.s`, "asm.s"},
		{`(?m) \+0x[0-9a-f]+$`, ""},
	} {
		record = regexp.MustCompile(r.pattern).
			ReplaceAllString(record, r.with)
	}
	return record
}

// showExtenders prints the record of a profile that has the extenders, if there
// is one.
func showExtenders(profile string) {
	for record := range strings.SplitSeq(profile, "\n\n") {
		if strings.Contains(record, extenderWaits) {
			fmt.Println(narrow(record))
		}
	}
}

// extendersIn is the verdict on what a tool has printed: how many messages have
// failed, how many extenders the tool shows, and what that cost. If the run
// never handled its messages, the verdict is empty.
func extendersIn(printed string, n int, price string, failed bool) verdict {
	handled := regexp.MustCompile(`failed=(\d+)`).FindStringSubmatch(printed)
	if handled == nil {
		return verdict{}
	}
	return verdict{fmt.Sprintf("%s failed, %d extenders found; %s",
		handled[1], n, price), failed}
}

// countInGroups returns how many goroutines a profile has in the record of the
// extenders.
func countInGroups(profile string) (n int) {
	m := regexp.MustCompile(`(?m)^(\d+) @ .*\n#.*returnEarly\.func1 ` +
		regexp.QuoteMeta(extenderWaits) + `$`).FindStringSubmatch(profile)
	if m != nil {
		n, _ = strconv.Atoi(m[1])
	}
	return n
}

// judgeDump is the verdict on a process that printed its stacks and died.
func judgeDump(endings []ending) verdict {
	e := endings[0]
	extender := regexp.MustCompile(`returnEarly\.func1\(\)\n\s+\S*` +
		regexp.QuoteMeta(extenderWaits) + ` `)
	n := len(extender.FindAllString(e.printed, -1))
	return extendersIn(e.printed, n,
		"the process died, "+e.how, e.code != 0)
}

// judgePages is the verdict on pages that were asked.
func judgePages(endings []ending) verdict {
	e := endings[0]
	public := regexp.MustCompile(`public asks for the stacks" status=(\d+)`).
		FindStringSubmatch(e.printed)
	switch {
	case public == nil:
		return verdict{}
	case public[1] == "404":
		return extendersIn(e.printed, countInGroups(e.printed),
			"the public can't see them", false)
	}
	return extendersIn(e.printed, countInGroups(e.printed),
		"the public can see them, status "+public[1], true)
}

var lesson01 = lesson{
	number: 1, core: true, title: "where is everybody?",
	watch: "what it costs to see the stacks, and who may",
	mistakes: slices.Concat(
		inChild(child{
			only: "unix", gets: "QUIT when it has no pages to show",
			onLine: func(line string, p *os.Process) {
				if strings.Contains(line, "no debug pages") {
					p.Signal(syscall.SIGQUIT)
				}
			},
			shows: func(line string) bool {
				return strings.HasPrefix(line, "t=") ||
					strings.HasPrefix(line, "SIGQUIT") ||
					strings.Contains(line, "returnEarly.func1") ||
					strings.Contains(line, extenderWaits)
			},
			cutAt:   extenderWaits,
			verdict: judgeDump,
		}, runs(lookAround, noPages)),
		inChild(child{verdict: judgePages}, runs(lookAround, shareTheMux)),
	),
	fix: inChild(child{verdict: judgePages}, runs(lookAround, useTwoMuxes)),
}
