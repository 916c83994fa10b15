package main

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLesson01Bounds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, side string
		run        int
		want       verdict
		threads    bool // one for each call, or more
		code       int  // exit status
	}{
		{"mistake: each call holds a thread", "mistake", 0,
			verdict{"500 of 500 calls hold a thread", true}, true, 0},
		{"mistake: no thread is left", "mistake", 1,
			verdict{"died, exit status 2, thread exhaustion", true}, false, 2},
		{"fix: eight calls hold a thread", "fix", 0,
			verdict{"8 of 500 calls hold a thread", false}, false, 0},
		{"fix: the network needs no threads", "fix", 1,
			verdict{"0 of 500 calls hold a thread", false}, false, 0},
		{"fix: threads are left", "fix", 2,
			verdict{"8 of 500 calls hold a thread", false}, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			endings := watchRun(t, lesson01, tt.side, tt.run)
			assert.Equal(t, tt.want, countThreads(endings))
			assert.Equal(t, tt.code, endings[0].code, "exit status")
			threads := 0
			if m := regexp.MustCompile(`threads=~(\d+)`).
				FindStringSubmatch(endings[0].printed); m != nil {
				threads, _ = strconv.Atoi(m[1])
			}
			assert.Equal(t, tt.threads, threads >= 500,
				"%d threads", threads)
		})
	}
}
