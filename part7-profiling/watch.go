package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/trace"
	"slices"
	"strings"
	"time"
)

// A snapshotFunc saves what the flight recorder has recorded, and returns the
// path of the file. It blocks until the file is written.
type snapshotFunc func() (path string, err error)

// watch looks for stuck handlers every second, until stop is called. stop waits
// for the look that is in progress, but not longer than the grace: a snapshot
// may hang with its disk.
func (m *Mandrill) watch() (stop func()) {
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		w := watcher{Mandrill: m, reported: make(map[*Delivery]bool)}
		for {
			select {
			case <-tick.C:
				logPanic(m.log, contain(w.look))
			case <-stopped:
				return
			}
		}
	}()
	return func() {
		close(stopped)
		select {
		case <-ended:
		case <-time.After(m.grace):
		}
	}
}

// A watcher looks for stuck handlers. Only one goroutine may use it.
type watcher struct {
	*Mandrill
	reported map[*Delivery]bool
	snapped  time.Time // when it took the last snapshot
}

// look logs each handler that is stuck, and where it is: once, and once more
// when it is no longer stuck. If it has found new ones, it takes one snapshot
// for all of them, unless it took one in the last minute.
func (w *watcher) look() error {
	open := make(map[*Delivery]bool)
	var stuck []entry
	for _, e := range w.inFlight.list() {
		if w.isStuck(e) {
			open[e.Delivery] = true
			if !w.reported[e.Delivery] {
				stuck = append(stuck, e)
			}
		}
	}
	for d := range w.reported {
		if !open[d] {
			w.log.Info("not stuck any more", "id", d.ID, "attempt", d.Attempt)
		}
	}
	w.reported = open
	if len(stuck) == 0 {
		return nil
	}
	w.report(stuck)
	if w.snapshot == nil ||
		!w.snapped.IsZero() && time.Since(w.snapped) < snapshotPause {
		return nil
	}
	w.snapped = time.Now()
	if path, err := w.snapshot(); err != nil {
		w.log.Warn("no snapshot", "err", oneLine(err))
	} else {
		w.log.Warn("snapshot", "file", path)
	}
	return nil
}

// isStuck reports whether a handler has been in its stage for too long. Work
// should end soon after its time-out. Settling should end with the lease.
func (m *Mandrill) isStuck(e entry) bool {
	switch e.stage {
	case isWorking:
		return time.Since(e.since) > m.timeout+m.grace
	case isSettling:
		return time.Since(e.since) > m.lease+m.grace
	}
	return false // it has no handler
}

// report logs these handlers, and for the first maxShown of them the stacks of
// their goroutines, except those that only wait: see waits.
func (w *watcher) report(stuck []entry) {
	const maxShown = 10
	all := stacks()
	for i, e := range stuck {
		w.log.Warn("stuck", "id", e.ID, "attempt", e.Attempt,
			"stage", e.stage, "for", time.Since(e.since).Truncate(time.Second))
		for _, s := range all {
			if i < maxShown && s.wears(e.Delivery) && !s.waits() {
				for _, call := range s.calls {
					w.log.Warn("stuck", "id", e.ID, "in", call)
				}
			}
		}
	}
}

// waits reports whether this is the stack of a handler or an extension. They
// wait for the work, or for the broker, and are not where the work hangs.
func (s stack) waits() bool {
	return slices.ContainsFunc(s.calls, func(call string) bool {
		return strings.HasPrefix(call, "(*Mandrill).saveAndRestart (") ||
			strings.HasPrefix(call, "(*keeper).extend (")
	})
}

// snapshotPause is how long the watch waits after a snapshot before it takes
// another.
const snapshotPause = time.Minute

// maxSnapshots is how many snapshots a folder holds, so that stuck handlers
// can't fill the disk.
const maxSnapshots = 10

// errEnoughSnapshots says that no more are taken.
var errEnoughSnapshots = fmt.Errorf("the folder has %d already", maxSnapshots)

// startRecorder starts the flight recorder. It keeps the execution trace of at
// least the last span, if that fits into 16 MB. A snapshot writes it to a new
// file in dir, which startRecorder creates if necessary. A process can have
// only one flight recorder. The caller must call stop.
func startRecorder(
	dir string, span time.Duration,
) (snapshot snapshotFunc, stop func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	probe, err := os.CreateTemp(dir, "probe-*") // can we write there?
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, nil, err
	}
	recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{
		MinAge: span, MaxBytes: 16 << 20,
	})
	if err := recorder.Start(); err != nil {
		return nil, nil, err
	}
	return func() (path string, err error) {
		f, err := createNumbered(dir)
		if err != nil {
			return "", err
		}
		_, err = recorder.WriteTo(f)
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(f.Name()) // nothing can read a part of a trace
			return "", err
		}
		return f.Name(), nil
	}, recorder.Stop, nil
}

// createNumbered creates the file of the next snapshot: one file each, because
// whatever reads a trace stops where the first one ends.
func createNumbered(dir string) (*os.File, error) {
	for n := range maxSnapshots {
		path := filepath.Join(dir, fmt.Sprintf("stuck-%d.trace", n+1))
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
	return nil, errEnoughSnapshots
}
