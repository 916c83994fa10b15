package main

import (
	"fmt"
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
		{"fix: the kernel kills it", "fix", 1, 1,
			verdict{"the parent was killed, and so the worker ended", false}},
		{"mistake: the thread ends", "mistake", 1, 10,
			verdict{"the parent lived, and the worker was killed", true}},
		{"fix: the thread is kept", "fix", 2, 10,
			verdict{"the parent lived, and the worker could end", false}},
	}
	for _, tt := range tests {
		for i := range tt.times {
			t.Run(fmt.Sprint(tt.name, " ", i+1), func(t *testing.T) {
				t.Parallel()
				list := lesson09.mistakes
				if tt.side == "fix" {
					list = lesson09.fix
				}
				c := list[tt.run].child
				if c.only != "" && c.only != runtime.GOOS {
					t.Skip("needs " + c.only)
				}
				endings := watchRun(t, lesson09, tt.side, tt.run)
				assert.Equal(t, tt.want, c.verdictOn(endings))
			})
		}
	}
}
