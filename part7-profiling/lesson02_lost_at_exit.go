// Lesson 7.2: the profile that is lost at exit.
//
// A service runs with a CPU profile for a day. Then it is stopped, in the way
// that services are stopped. Is there a profile?

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"syscall"
)

// stopLast is the mistake. It checks every error, and stops the profile when
// the service has ended well.
func stopLast(path string, serve func() error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	if err := serve(); err != nil {
		return err
	}
	pprof.StopCPUProfile()
	return file.Close()
}

// The fix is profiled, which the service uses.
var _ profilerFunc = profiled

// A profilerFunc calls serve and writes its CPU profile to a file. It returns
// the error of serve.
type profilerFunc func(path string, serve func() error) error

// profileADay runs a busy service, with a profile, until it is told to stop.
// Then it reads the profile.
func profileADay(ctx context.Context, s *scene, run profilerFunc) verdict {
	path := filepath.Join(os.TempDir(), "cpu.out")
	err := run(path, func() error {
		s.log.Info("working")
		for n := 0; n < 2000 || ctx.Err() == nil; n++ {
			busy()
		}
		return context.Cause(ctx) // it was stopped
	})
	s.log.Info("stopped", "err", err)
	file, err := os.ReadFile(path)
	if err != nil {
		return verdict{text: err.Error()}
	}
	s.log.Info("read", "bytes", roughly(len(file)))
	if len(file) > 0 {
		p, err := readProfile(bytes.NewReader(file))
		if err != nil {
			return verdict{text: err.Error()}
		}
		all, there, _ := spent(p, "busy")
		s.log.Info("found", "on_cpu", ms(all), "in_busy", ms(there))
	}
	return verdict{}
}

// busy keeps a processor busy for a moment.
func busy() {
	sum := uint64(1)
	for i := range uint64(100_000) {
		sum = sum*31 + i
	}
	sums.Store(sum)
}

// sums keeps the compiler from leaving the loop out.
var sums atomic.Uint64

// judgeFile is the verdict on a profile in a file. It has failed if the file is
// empty.
func judgeFile(endings []ending) verdict {
	printed := endings[0].printed
	size, ok := figure(printed, `bytes=~(\d+)`)
	if !ok || !strings.Contains(printed, "terminated signal received") {
		return verdict{}
	}
	if size == 0 {
		return verdict{"stopped with TERM; the profile has 0 bytes", true}
	}
	there, ok := figure(printed, `in_busy=~(\d+)ms`)
	return verdict{fmt.Sprintf("stopped with TERM; the profile shows ~%dms "+
		"in busy", there), !ok || there == 0}
}

// isOurs reports whether a line of the output is from the scene.
func isOurs(line string) bool { return strings.HasPrefix(line, "t=") }

// sendTERM sends the signal when the service is working.
func sendTERM(line string, p *os.Process) {
	if strings.Contains(line, "msg=working") {
		p.Signal(syscall.SIGTERM)
	}
}

var lesson02 = lesson{
	number: 2, title: "the profile that is lost at exit",
	watch: "what is in the file",
	mistakes: inChild(child{
		verdict: judgeFile, onLine: sendTERM, gets: "TERM", only: "unix",
		shows: isOurs,
	}, runs(profileADay, stopLast)),
	fix: inChild(child{
		verdict: judgeFile, onLine: sendTERM, gets: "TERM", only: "unix",
		shows: isOurs,
	}, runs(profileADay, profiled)),
}
