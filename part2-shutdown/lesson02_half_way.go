// Lesson 2.2: shutdown stops half-way.
//
// When a service is stopped, three steps are left: wait for the
// consumer, flush the metrics, close the database. The consumer says why it
// ended, as a good function does: it was stopped.

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// firstErrorStops is the mistake. Go code looks like this everywhere else, but
// here the first error is the one that we expect.
func firstErrorStops(ctx context.Context, steps []func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// firstErrorWins is the second mistake. Every step is taken, and the only
// error that it returns is the expected one.
func firstErrorWins(ctx context.Context, steps []func() error) (first error) {
	for _, step := range steps {
		if err := step(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// everyStep is the fix. Every step is taken, in order, and every error is kept,
// except the expected one, because being stopped is not a failure. The service
// uses unlessStopped for that.
func everyStep(ctx context.Context, steps []func() error) error {
	var errs []error
	for _, step := range steps {
		errs = append(errs, unlessStopped(ctx, step()))
	}
	return errors.Join(errs...)
}

// A shutDownFunc takes the steps of a shutdown, in order, and returns its
// error.
type shutDownFunc func(ctx context.Context, steps []func() error) error

var (
	// errStopped is the cause when a scene is stopped.
	errStopped = errors.New("terminated signal received")
	// errDiskFull is what the flush fails with.
	errDiskFull = errors.New("flush: disk full")
)

// threeSteps shuts a service down. Flushing the metrics fails.
func threeSteps(
	ctx context.Context, s *scene, shutDown shutDownFunc,
) verdict {
	return stepsWith(ctx, s, shutDown, errDiskFull, nil)
}

// stepsWith has the flush and the close of the database return these errors.
func stepsWith(
	ctx context.Context, s *scene, shutDown shutDownFunc,
	flush, closing error,
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
		step("wait for the consumer", context.Cause(ctx)),
		step("flush the metrics", flush),
		step("close the database", closing),
	})
	text := "<nil>"
	if err != nil {
		text = strings.ReplaceAll(err.Error(), "\n", ", ")
	}
	return verdict{
		text:   fmt.Sprintf("%d of 3 steps, returned: %s", made, text),
		failed: made < 3 || !errors.Is(err, flush),
	}
}

var lesson02 = lesson{
	number: 2, title: "shutdown stops half-way",
	watch:    "which of three steps are taken, and which error is returned",
	mistakes: runs(threeSteps, firstErrorStops, firstErrorWins),
	fix:      runs(threeSteps, everyStep),
}
