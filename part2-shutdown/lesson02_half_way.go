// Lesson 2.2: shutdown stops half-way.
//
// When a service is stopped, three things are left to do: wait for the
// consumer, flush the metrics, close the database. The consumer says why it
// ended, as a good function does: it was cancelled.

package main

import (
	"context"
	"errors"
	"fmt"
)

var lesson02 = lesson{
	number: 2, title: "shutdown stops half-way",
	mistakes: runs(threeSteps, firstErrorStops, firstErrorWins),
	fix:      runs(threeSteps, everyStep),
}

// firstErrorStops is the mistake. It is how Go code looks everywhere else, but
// the first error is the one that we expect.
func firstErrorStops(ctx context.Context, steps []func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// firstErrorWins is the second mistake. All steps are made, and the one error
// that survives is the one that says nothing.
func firstErrorWins(ctx context.Context, steps []func() error) (first error) {
	for _, step := range steps {
		if err := step(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// everyStep is the fix. All steps are made, in order; that we were stopped is
// no failure; and all that is one is kept.
func everyStep(ctx context.Context, steps []func() error) error {
	var errs []error
	for _, step := range steps {
		errs = append(errs, unlessStopped(ctx, step()))
	}
	return errors.Join(errs...)
}

var (
	errStopped  = errors.New("terminated signal received")
	errDiskFull = errors.New("flush: disk full")
)

// threeSteps shuts a service down. To flush the metrics fails.
func threeSteps(
	ctx context.Context, s *scene,
	shutDown func(ctx context.Context, steps []func() error) error,
) verdict {
	return stepsWith(ctx, s, shutDown, errDiskFull)
}

func stepsWith(
	ctx context.Context, s *scene,
	shutDown func(ctx context.Context, steps []func() error) error,
	flush error,
) verdict {
	ctx, cancel := context.WithCancelCause(ctx)
	cancel(errStopped)
	made := 0
	step := func(name string, err error) func() error {
		return func() error {
			made++
			s.log.Info(name)
			return err
		}
	}
	err := shutDown(ctx, []func() error{
		step("consumer ended", context.Cause(ctx)),
		step("metrics flushed", flush),
		step("database closed", nil),
	})
	return verdict{
		text:   fmt.Sprintf("%d of 3 steps, returned: %v", made, err),
		failed: made < 3 || !errors.Is(err, flush),
	}
}
