// Lesson 3.4: panics, and where recover works.
//
// A handler starts a goroutine, and that goroutine panics. A panic that is not
// recovered ends the process, whatever its other goroutines were doing.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// recoverInMain is the mistake: one recover at the top, for whatever happens
// below. But a panic unwinds only its own goroutine, and never reaches main.
func recoverInMain(log *slog.Logger, program func()) {
	defer func() {
		if p := recover(); p != nil {
			log.Info("contained", "panic", p)
		}
	}()
	program()
}

// recoverInCaller is the second mistake. recover stops only a panic of its
// own goroutine, and the work runs in another one.
func recoverInCaller(work func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("contained: %v", p)
		}
	}()
	var job sync.WaitGroup
	job.Go(work)
	job.Wait()
	return nil
}

// recoverInHelper is the third mistake. It is in the right goroutine, but
// recover works only in the deferred function itself, not in a function that it
// calls.
func recoverInHelper(work func()) (err error) {
	contained := func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("contained: %v", p)
		}
	}
	var job sync.WaitGroup
	job.Go(func() {
		defer func() { contained() }()
		work()
	})
	job.Wait()
	return err
}

// trustWait is the fourth mistake: to think that nothing after Wait can run
// when the process is dying. A panic takes a moment to end a process, and in
// that moment the others go on; errgroup's Wait may return nil.
func trustWait(work func()) (err error) {
	var g errgroup.Group
	g.Go(func() error {
		work()
		return nil
	})
	return g.Wait()
}

// trustContain is the fifth mistake: to think that recoverInGoroutine, the
// fix below, catches everything. What Go calls a fatal error is not a panic.
func trustContain(work func()) (err error) {
	return recoverInGoroutine(work)
}

// recoverInGoroutine is the fix: a boundary in every goroutine, at its top. The
// service's contain is one. Its error has the stack, because otherwise we
// would never learn where the panic was.
func recoverInGoroutine(work func()) (err error) {
	var job sync.WaitGroup
	job.Go(func() {
		err = contain(func() error {
			work()
			return nil
		})
	})
	job.Wait()
	return err
}

// onePanics is a whole program that handles two messages side by side. One
// takes 300ms. The other panics after 100ms, and should then be given back.
// (WaitGroup.Go recovers a panic and panics again: so Go says "[recovered,
// repanicked]", although nothing has been saved.)
func onePanics(
	_ context.Context, s *scene, handle func(work func()) error,
) verdict {
	return onePanicsAfter(s, handle, 100*time.Millisecond)
}

// onePanicsInside lets main protect that program.
func onePanicsInside(
	ctx context.Context, s *scene, protect func(*slog.Logger, func()),
) verdict {
	protect(s.log, func() {
		onePanics(ctx, s, func(work func()) error {
			work()
			return nil
		})
	})
	return verdict{}
}

// onePanicsSoon does it after 25ms, because it is played often.
func onePanicsSoon(
	_ context.Context, s *scene, handle func(work func()) error,
) verdict {
	return onePanicsAfter(s, handle, 25*time.Millisecond)
}

func onePanicsAfter(
	s *scene, handle func(work func()) error, d time.Duration,
) verdict {
	var handlers sync.WaitGroup
	handlers.Go(func() {
		defer s.log.Info("ended", "id", "m1")
		time.Sleep(300 * time.Millisecond)
		s.log.Info("acked", "id", "m1")
	})
	handlers.Go(func() {
		err := handle(func() {
			time.Sleep(d)
			var racks map[string]int
			//lint:ignore SA5000 this is the panic
			racks["cattle"]++
		})
		if err != nil {
			s.log.Info("nacked", "id", "m2", "err", err)
		} else {
			s.log.Info("acked", "id", "m2")
		}
	})
	handlers.Wait()
	return verdict{}
}

// twoWriters is a whole program that handles three messages side by side. One
// takes 300ms. The two others write the same map.
func twoWriters(
	_ context.Context, s *scene, handle func(work func()) error,
) verdict {
	var handlers sync.WaitGroup
	handlers.Go(func() {
		time.Sleep(300 * time.Millisecond)
		s.log.Info("acked", "id", "m1")
	})
	restarts := make(map[string]int)
	for _, id := range []string{"m2", "m3"} {
		handlers.Go(func() {
			err := handle(func() {
				for start := time.Now(); time.Since(start) < time.Second; {
					restarts["cattle"]++
				}
			})
			s.log.Info("handled", "id", id, "err", err)
		})
	}
	handlers.Wait()
	return verdict{}
}

// countSurvivors judges by what became of the message that did not panic.
func countSurvivors(endings []ending) verdict {
	e := endings[0]
	acked := strings.Count(e.printed, "msg=acked id=m1")
	text := fmt.Sprintf("%s, acks of m1: %d", e.how, acked)
	if e.why != "" {
		text += ", " + e.why
	}
	return verdict{text: text, failed: acked == 0}
}

// countAcked judges by how often the message that panicked was acked.
func countAcked(endings []ending) verdict {
	acked := 0
	for _, e := range endings {
		acked += strings.Count(e.printed, "msg=acked id=m2")
	}
	return verdict{
		text: fmt.Sprintf("m2 panicked, and was acked in %s of %d runs",
			share(acked, len(endings)), len(endings)),
		failed: acked > 0,
	}
}

// share marks a figure that differs from run to run.
func share(n, of int) string {
	if n == 0 || n == of {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("~%d", n)
}

var lesson04 = lesson{
	number: 4, core: true, title: "panics, and where recover works",
	watch: "what becomes of m1, which is fine, and of m2, which panics",
	mistakes: slices.Concat(
		inChild(child{verdict: countSurvivors},
			runs(onePanicsInside, recoverInMain)),
		inChild(child{verdict: countSurvivors},
			runs(onePanics, recoverInCaller, recoverInHelper)),
		inChild(child{verdict: countAcked, runs: 80},
			runs(onePanicsSoon, trustWait)),
		inChild(child{verdict: countSurvivors},
			runs(twoWriters, trustContain))),
	fix: inChild(child{verdict: countSurvivors},
		runs(onePanics, recoverInGoroutine)),
}
