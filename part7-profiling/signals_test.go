package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A stop request that arrives twice within 100ms is one request. The signals
// are Go's from then on: relay has called stop, and only then says so.
func TestRelay(t *testing.T) {
	for _, tt := range []struct {
		name       string
		second     time.Duration
		wantPassed int // signals that were left to Go
	}{
		{"an echo is swallowed", 100*time.Millisecond - 1, 0},
		{"a second signal is not", 100*time.Millisecond + 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				heard := make(chan os.Signal, 1) // as signal.Notify wants it
				var stopped atomic.Bool
				passed := 0
				send := func() { // as os/signal does
					if stopped.Load() {
						passed++
						return
					}
					select {
					case heard <- os.Interrupt:
					default:
					}
				}
				var log lines
				ctx, cancel := context.WithCancelCause(t.Context())
				ended := make(chan struct{})
				go func() {
					relay(slog.New(slog.NewTextHandler(&log, nil)), heard,
						cancel, func() {
							stopped.Store(true)
							assert.Zero(t, log.count("kills"), "said too early")
						})
					close(ended)
				}()
				time.Sleep(time.Second)
				send()
				synctest.Wait()
				assert.EqualError(t, context.Cause(ctx),
					"interrupt signal received")
				time.Sleep(tt.second)
				send()
				<-ended
				assert.Equal(t, tt.wantPassed, passed, "signals left to Go")
				assert.Equal(t, 1, log.count(`msg="a second signal kills"`))
			})
		})
	}
}

// A service that can't even stop, because its log blocks, is left behind when
// its budget is over.
func TestInTime(t *testing.T) {
	failed := errors.New("failed")
	for _, tt := range []struct {
		name   string
		signal time.Duration
		takes  time.Duration
		want   error
		took   time.Duration
	}{
		{"it ends by itself", time.Hour, time.Minute, failed, time.Minute},
		{"it stops in time", time.Second, 3 * time.Second, failed,
			3 * time.Second},
		{"it does not", time.Second, time.Minute, errOverdue,
			6 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				start := time.Now()
				ctx, stop := context.WithTimeout(t.Context(), tt.signal)
				defer stop()
				err := inTime(ctx, 5*time.Second, func() error {
					time.Sleep(tt.takes)
					return failed
				})
				assert.Equal(t, tt.want, err)
				assert.Equal(t, tt.took, time.Since(start), "it took")
				time.Sleep(time.Minute)
			})
		})
	}
}
