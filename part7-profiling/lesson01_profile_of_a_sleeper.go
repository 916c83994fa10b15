// Lesson 7.1: the profile of a sleeper.
//
// Twenty restarts take ten times as long as one. The first thing everyone does
// is to take a CPU profile. What does it say about a program that waits?

package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"runtime/pprof"
	"sync"
	"time"
)

// profileCPU is the mistake: it looks for the time in the CPU profile. That
// profile knows only what runs on a processor.
func profileCPU(work func()) (found []any, err error) {
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		return nil, err
	}
	work()
	pprof.StopCPUProfile()
	p, err := readProfile(&b)
	if err != nil {
		return nil, err
	}
	all, _, _ := spent(p, "")
	return []any{"on_cpu", ms(all)}, nil
}

// profileWaits is the fix. The block profile knows for how long goroutines have
// waited for each other, and at which line. With -debug, the service starts
// this profile, too.
func profileWaits(work func()) (found []any, err error) {
	stop := startWaitProfiles()
	defer stop()
	work()
	p, err := lookUp("block")
	if err != nil {
		return nil, err
	}
	_, there, place := spent(p, "(*journal).write")
	return []any{"waited", ms(there), "in", place}, nil
}

// A profileFunc has work done, and returns what it has found out, as attributes
// of the log.
type profileFunc func(work func()) (found []any, err error)

// A journal is written by one handler at a time. A write takes ten
// milliseconds.
type journal struct{ mu sync.Mutex }

// write writes an entry. It blocks while another one is being written.
func (j *journal) write() {
	j.mu.Lock()
	defer j.mu.Unlock()
	time.Sleep(10 * time.Millisecond) // the disk
}

// restartTwenty restarts twenty hosts at once, each in 20ms, and writes an
// entry for each.
func restartTwenty(_ context.Context, s *scene, find profileFunc) verdict {
	var j journal
	var took time.Duration
	found, err := find(func() {
		took = atOnce(20, func(int) {
			time.Sleep(20 * time.Millisecond) // the host
			j.write()
		})
	})
	if err != nil {
		return verdict{text: err.Error()}
	}
	s.log.Info("restarted", "hosts", 20, "all", ms(took))
	s.log.Info("found", found...)
	return verdict{}
}

// judgeProfile is the verdict on a profile. It has failed if it does not name
// the place where the time goes.
func judgeProfile(endings []ending) verdict {
	printed := endings[0].printed
	all, ok := figure(printed, `all=~(\d+)ms`)
	if !ok {
		return verdict{}
	}
	if cpu, ok := figure(printed, `on_cpu=~(\d+)ms`); ok {
		return verdict{fmt.Sprintf("~%dms passed, ~%dms of them on the CPU: "+
			"nothing to optimize", all, cpu), cpu < all/10}
	}
	waited, _ := figure(printed, `waited=~(\d+)ms`)
	place := regexp.MustCompile(`in=(\(\*journal\)\.write):\d+`).
		FindStringSubmatch(printed)
	if place == nil {
		return verdict{fmt.Sprintf("~%dms passed, and nothing says where",
			all), true}
	}
	return verdict{fmt.Sprintf("~%dms passed; twenty handlers have waited "+
		"~%dms in %s", all, waited, place[1]), waited < 2*all}
}

var lesson01 = lesson{
	number: 1, core: true, title: "the profile of a sleeper",
	watch: "where the profile says that the time went",
	mistakes: inChild(child{verdict: judgeProfile},
		runs(restartTwenty, profileCPU)),
	fix: inChild(child{verdict: judgeProfile},
		runs(restartTwenty, profileWaits)),
}
