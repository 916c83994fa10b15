package main

import "testing"

func TestLesson01ProfileOfASleeper(t *testing.T) {
	t.Parallel()
	assertVerdicts(t, lesson01, []verdictRow{
		{"mistake: the CPU profile has nothing to show", 0, nil,
			verdict{failed: true, text: "~ms passed, ~ms of them on the " +
				"CPU: nothing to optimize"}},
		{"fix: the block profile names the line", 0, nil,
			verdict{text: "~ms passed; twenty handlers have waited ~ms in " +
				"(*journal).write"}},
	})
}
