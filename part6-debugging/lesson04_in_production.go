// Lesson 6.4: in production.
//
// Nobody looks at a service that runs. What should raise an alarm, and what
// should it tell whoever is called at night?

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// byFeel is a mistake: an alarm at a number that looks high enough.
func byFeel(slots int) (goroutines int, alarm bool) {
	goroutines = runtime.NumGoroutine()
	return goroutines, goroutines > 1000
}

// byCeiling is the fix. The service takes a slot before a message, so we know
// how many goroutines its messages may have. The page /debug/inflight shows
// both figures.
func byCeiling(slots int) (goroutines int, alarm bool) {
	goroutines = messageGoroutines()
	return goroutines, goroutines > ceiling(slots)
}

// unwatched is a mistake, too: a handler hangs, and nothing says so.
func unwatched(*Mandrill) (stop func()) { return func() {} }

// The other fix is watch, a method of the service.
var _ watchFunc = (*Mandrill).watch

// An alarmFunc counts goroutines and decides whether they are too many.
type alarmFunc func(slots int) (goroutines int, alarm bool)

// twoServices has the alarm look at a healthy service, at its busiest, and then
// at one that leaks: up to a hundred messages fail, one after the other, until
// there is an alarm.
func twoServices(ctx context.Context, s *scene, look alarmFunc) verdict {
	const many, few = 512, 8
	s.log.Info("healthy", allBusy(ctx, s.seed, many, func() []any {
		n, alarm := look(many)
		return []any{"slots", many, "goroutines", roughly(n), "alarm", alarm}
	})...)
	fails := func(context.Context, Message) error { return errDatabaseGone }
	failed, n, alarm := 0, 0, false
	for failed < 100 && !alarm {
		failed++
		d := newDelivery(newMessage(s.seed, failed))
		labelled(ctx, d, func(ctx context.Context) {
			planted(ctx)(ctx, d, fails, fails)
		})
		n, alarm = look(few)
	}
	s.log.Info("leaking", "slots", few, "goroutines", roughly(n),
		"alarm", alarm)
	n, place := extenders()
	s.log.Info("handled", "failed", roughly(failed))
	s.log.Info("left behind", "extenders", roughly(n), "in", place)
	return verdict{}
}

// allBusy calls look while that many handlers are working, each on one message,
// and returns what look has returned when all of them are done.
func allBusy(
	ctx context.Context, seed uint64, messages int, look func() []any,
) (seen []any) {
	var begun, handlers sync.WaitGroup
	end := make(chan struct{})
	wait := func(context.Context, Message) error {
		begun.Done()
		<-end
		return nil
	}
	begun.Add(2 * messages)
	for n := range messages {
		d := newDelivery(newMessage(seed, n+1))
		handlers.Go(func() {
			labelled(ctx, d, func(ctx context.Context) {
				releaseAlways(ctx, d, wait, wait)
			})
		})
	}
	begun.Wait()
	seen = look()
	close(end)
	handlers.Wait()
	return seen
}

// judgeAlarm is the verdict on an alarm. It has failed if it went off for the
// healthy service, or did not for the one that leaks.
func judgeAlarm(endings []ending) verdict {
	m := regexp.MustCompile(`(?s)alarm=(true|false).*alarm=(true|false)` +
		`.*failed=~(\d+).*extenders=~(\d+)`).
		FindStringSubmatch(endings[0].printed)
	if m == nil {
		return verdict{}
	}
	left := m[4]
	switch left {
	case "0":
		left = "no"
	case m[3]:
		left = "as many"
	}
	return verdict{
		fmt.Sprintf("~%s failed, %s extenders; alarm: healthy %s, leaking %s",
			m[3], left, m[1], m[2]),
		m[1] == "true" || m[2] == "false" && left != "no",
	}
}

// A watchFunc looks for stuck handlers until stop is called.
type watchFunc func(m *Mandrill) (stop func())

// oneHangs has a handler hang for two seconds. Its attempt times out after
// 300ms.
func oneHangs(ctx context.Context, s *scene, watch watchFunc) verdict {
	if err := os.Chdir(os.TempDir()); err != nil { // a short path in the log
		return verdict{text: err.Error()}
	}
	snapshot, stopRecorder, err := startRecorder(".", 5*time.Second)
	if err != nil {
		return verdict{text: err.Error()}
	}
	defer stopRecorder()
	m := &Mandrill{
		log: s.log, lease: time.Hour, save: nothing, snapshot: snapshot,
		timeout: 300 * time.Millisecond, grace: 200 * time.Millisecond,
	}
	end := make(chan struct{})
	m.restart = hanging(nothing, 1, end)
	d := newDelivery(newMessage(s.seed, 1))
	m.inFlight.begin(d)
	stop := watch(m)
	go labelled(ctx, d, func(ctx context.Context) { m.saveAndRestart(ctx, d) })
	s.log.Info("watching", "for", 2*time.Second)
	time.Sleep(2 * time.Second)
	stop()
	close(end)
	if trace, err := os.ReadFile("stuck-1.trace"); err == nil {
		s.log.Info("read the trace",
			"names_m1", bytes.Contains(trace, []byte(d.ID)))
	}
	return verdict{}
}

// nothing is work that is done at once.
func nothing(context.Context, Message) error { return nil }

// judgeWatch is the verdict on a watch: it has failed if it doesn't say where
// the handler hangs.
func judgeWatch(endings []ending) verdict {
	e := endings[0]
	if !strings.Contains(e.printed, "msg=watching") || e.code != 0 {
		return verdict{}
	}
	m := regexp.MustCompile(
		`msg=stuck id=m1 in="(\S*hanging\S* \(hosts.go:\d+\))"`).
		FindStringSubmatch(e.printed)
	if m == nil {
		return verdict{"m1 hangs, and nothing says so", true}
	}
	return verdict{text: "m1 hangs in " + m[1]}
}

// isOurs reports whether a line of the log is not about a call in Go itself,
// whose line numbers change with Go.
func isOurs(line string) bool {
	return !strings.Contains(line, "(waitgroup.go:") &&
		!strings.Contains(line, "(runtime.go:")
}

var lesson04 = lesson{
	number: 4, core: true, title: "in production",
	watch: "when there is an alarm, and what it says",
	mistakes: slices.Concat(
		inChild(child{verdict: judgeAlarm}, runs(twoServices, byFeel)),
		inChild(child{verdict: judgeWatch}, runs(oneHangs, unwatched)),
	),
	fix: slices.Concat(
		inChild(child{verdict: judgeAlarm}, runs(twoServices, byCeiling)),
		inChild(child{verdict: judgeWatch, shows: isOurs},
			runs(oneHangs, (*Mandrill).watch)),
	),
}
