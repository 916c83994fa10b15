// The patient: the extender of part 3, lesson 5, which never stops. Lessons 1,
// 2 and 4 look for it, each with another tool, and so does a test of lesson 5.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// returnEarly is the patient. The early return does not close done, so the
// extender goes on, and the broker believes that the message is being worked
// on. Nor does returnEarly receive the result of the restart.
func returnEarly(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	done := make(chan struct{}) // closed below, when all went well
	go func() {
		for tick := time.Tick(1200 * time.Millisecond); ; {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-tick:
				d.Extend(ctx)
			}
		}
	}()
	errs := make(chan error)
	for _, job := range []workFunc{save, restart} {
		go func() {
			select {
			case errs <- job(ctx, d.Message):
			case <-ctx.Done():
			}
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			return
		}
	}
	close(done)
	d.Ack(ctx)
}

// extenderWaits is where the extender waits: "patient.go:25".
var extenderWaits = placeOfLine("patient.go", "\t\t\tselect {")

// placeOfLine returns the place of the first line that is like this one.
func placeOfLine(file, line string) string {
	text, _ := sources.ReadFile(file)
	before, _, _ := strings.Cut(string(text), "\n"+line+"\n")
	return fmt.Sprintf("%s:%d", file, strings.Count(before, "\n")+2)
}

// releaseAlways is healthy. saveAndRestart, which the service uses, waits for
// both results, and has deferred the release of the lease.
func releaseAlways(
	ctx context.Context, d *Delivery, save, restart workFunc,
) {
	m := &Mandrill{
		log: quiet, lease: 3 * time.Second, timeout: 10 * time.Second,
		save: save, restart: restart,
	}
	saved, restarted := m.saveAndRestart(ctx, d)
	if saved != nil || restarted != nil {
		d.Nack(ctx, 10*time.Second)
	} else {
		d.Ack(ctx)
	}
}

// quiet is a log that discards everything.
var quiet = slog.New(slog.DiscardHandler)

// A handleBothFunc saves a message, restarts its host, and settles it.
type handleBothFunc func(
	ctx context.Context, d *Delivery, save, restart workFunc)

// withPlant returns a context that says which handler the lessons look at.
func withPlant(ctx context.Context, plant bool) context.Context {
	return context.WithValue(ctx, plantKey{}, plant)
}

type plantKey struct{}

// planted returns the handler that a lesson looks at: the patient, unless
// withPlant says otherwise.
func planted(ctx context.Context) handleBothFunc {
	if plant, ok := ctx.Value(plantKey{}).(bool); ok && !plant {
		return releaseAlways
	}
	return returnEarly
}

// errDatabaseGone is why a save fails.
var errDatabaseGone = errors.New("no connection to the database")

// handleTen has a handler work on ten messages at once. The seed decides whose
// save fails. start starts a handler, may prepare its goroutine, and returns
// when the handler does. handleTen returns when every handler has returned, and
// says how many saves failed.
func handleTen(
	ctx context.Context, s *scene, handle handleBothFunc, start startFunc,
) (failed int) {
	fails := func(msg Message) bool {
		return random(s.seed, msg.ID, "save").IntN(10) < 7
	}
	save := func(_ context.Context, msg Message) error {
		if fails(msg) {
			return errDatabaseGone
		}
		return nil
	}
	restart := func(ctx context.Context, _ Message) error {
		return sleep(ctx, 50*time.Millisecond)
	}
	var handlers sync.WaitGroup
	for n := range 10 {
		d := newDelivery(newMessage(s.seed, n+1))
		if fails(d.Message) {
			failed++
		}
		handlers.Go(func() {
			start(ctx, d, func(ctx context.Context) {
				handle(ctx, d, save, restart)
			})
		})
	}
	handlers.Wait()
	extenders() // returns when each is in its select
	s.log.Info("handled", "messages", 10, "failed", failed)
	return failed
}

// extenders returns how many extenders wait in their select, and where. A new
// goroutine may not have got there yet, so extenders looks again, for up to 5s.
func extenders() (n int, place string) {
	for range 5000 {
		running := 0
		n, place = 0, ""
		for _, s := range stacks() {
			calls := strings.Join(s.calls, " ")
			if strings.Contains(calls, "returnEarly.func1") {
				running += s.goroutines
			}
			if strings.Contains(calls, extenderWaits) {
				n, place = n+s.goroutines, s.calls[0]
			}
		}
		if n == running {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return n, place
}

// A startFunc calls f to handle a delivery.
type startFunc func(
	ctx context.Context, d *Delivery, f func(context.Context))

// newDelivery returns the first delivery of a message, from a broker that does
// whatever it is told.
func newDelivery(msg Message) *Delivery {
	return &Delivery{
		Message: msg, Attempt: 1, Asked: time.Now(),
		until: time.Now().Add(time.Hour), verbs: obedient{},
	}
}

// Obedient verbs do nothing, and always succeed.
type obedient struct{}

// Extend implements verbs.
func (obedient) Extend(context.Context) error { return nil }

// Ack implements verbs.
func (obedient) Ack(context.Context) error { return nil }

// Nack implements verbs.
func (obedient) Nack(context.Context, time.Duration) error { return nil }

// DeadLetter implements verbs.
func (obedient) DeadLetter(context.Context, error) error { return nil }

// roughly marks a figure that differs a little from run to run.
func roughly(n int) string { return fmt.Sprintf("~%d", n) }

// What the kit has for other chapters.
var _ = []any{(*scene).elapsed, scene{}.extras}
