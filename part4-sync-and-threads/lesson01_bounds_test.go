package main

import (
	"context"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sync/semaphore"
)

func TestLesson01Bounds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, side string
		run        int
		want       verdict
		threads    bool // one for each call, or more
		restarted  string
		code       int // exit status
	}{
		{"mistake: each call holds a thread", "mistake", 0,
			verdict{"500 of 500 calls hold a thread", true}, true, "500", 0},
		{"mistake: no thread is left", "mistake", 1,
			verdict{"died, exit status 2, thread exhaustion", true}, false,
			"", 2},
		{"fix: eight calls hold a thread", "fix", 0,
			verdict{"8 of 500 calls hold a thread", false}, false, "8", 0},
		{"fix: the network needs no threads", "fix", 1,
			verdict{"0 of 500 calls hold a thread", false}, false, "0", 0},
		{"fix: threads are left", "fix", 2,
			verdict{"8 of 500 calls hold a thread", false}, false, "8", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			endings := watchRun(t, lesson01, tt.side, tt.run)
			assert.Equal(t, tt.want, countThreads(endings))
			assert.Equal(t, tt.code, endings[0].code, "exit status")
			figure := func(name string) string {
				_, after, _ := strings.Cut(endings[0].printed, name)
				return regexp.MustCompile(`^\d*`).FindString(after)
			}
			assert.Equal(t, tt.restarted, figure("restarted="), "restarted")
			threads, _ := strconv.Atoi(figure("threads=~"))
			assert.Equal(t, tt.threads, threads >= 500,
				"%d threads", threads)
		})
	}
}

// A turn is given back, and can be had again.
func TestLesson01Turns(t *testing.T) {
	rack, turns := filepath.Join(t.TempDir(), "lock"), semaphore.NewWeighted(1)
	restarts := 0
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		assert.NoError(t, lockRackInTurn(ctx, rack, turns, func() error {
			restarts++
			return nil
		}))
	}
	assert.Equal(t, 2, restarts)
}
