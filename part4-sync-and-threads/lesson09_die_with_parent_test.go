package main

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLesson09DieWithParent(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, side string
		run        int
		times      int
		want       verdict
	}{
		{"mistake: the worker goes on", "mistake", 0, 1,
			verdict{"the parent was killed, the worker went on", true}},
		{"fix: its input ends", "fix", 0, 1,
			verdict{"the parent was killed, and so the worker ended", false}},
		{"fix: its input lasts", "fix", 1, 1,
			verdict{"the parent lived, and the worker could end", false}},
		{"fix: the kernel kills it", "fix", 2, 1,
			verdict{"the parent was killed, and so the worker ended", false}},
		{"mistake: the thread ends", "mistake", 1, 10,
			verdict{"the parent lived, the kernel killed the worker", true}},
		{"fix: the thread is kept", "fix", 3, 2,
			verdict{"the parent lived, and the worker could end", false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			list := lesson09.mistakes
			if tt.side == "fix" {
				list = lesson09.fix
			}
			c := list[tt.run].child
			if c.only != "" && c.only != runtime.GOOS {
				t.Skip("needs " + c.only)
			}
			for range tt.times {
				endings := watchRun(t, lesson09, tt.side, tt.run)
				assert.Equal(t, tt.want, c.verdictOn(endings))
			}
		})
	}
}
