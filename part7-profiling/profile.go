package main

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

// profiled calls f and writes its CPU profile to a file, whatever f returns,
// and even if f panics. It returns the error of f, joined with what went wrong
// with the file. If path is empty, it only calls f.
func profiled(path string, f func() error) (err error) {
	if path == "" {
		return f()
	}
	file, err := os.Create(path)
	if err != nil {
		return usageError("-cpuprofile: " + err.Error())
	}
	out := &output{to: file} // it remembers an error, which pprof does not
	defer func() { err = errors.Join(err, out.failed(), file.Close()) }()
	if err := pprof.StartCPUProfile(out); err != nil {
		return err
	}
	defer pprof.StopCPUProfile() // it writes the file
	return f()
}

// startWaitProfiles makes the runtime note where goroutines wait: each wait of
// a millisecond or more for the block profile, shorter ones in proportion, and
// one contention in a hundred for the mutex profile. stop ends that.
func startWaitProfiles() (stop func()) {
	const oneIn = 100
	fraction := runtime.SetMutexProfileFraction(oneIn)
	runtime.SetBlockProfileRate(int(time.Millisecond))
	return func() {
		runtime.SetMutexProfileFraction(fraction)
		runtime.SetBlockProfileRate(0)
	}
}
