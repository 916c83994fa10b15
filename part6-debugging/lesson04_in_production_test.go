package main

import "testing"

func TestLesson04InProduction(t *testing.T) {
	t.Parallel()
	assertVerdicts(t, lesson04, []verdictRow{
		{"mistake: wrong about both services", 0, nil,
			verdict{failed: true, text: "~ failed, as many extenders; " +
				"alarm: healthy true, leaking false"}},
		{"mistake: nothing says that a handler hangs", 1, nil,
			verdict{failed: true, text: "m1 hangs, and nothing says so"}},
		{"fix: right about both services", 0, nil,
			verdict{text: "~ failed, as many extenders; " +
				"alarm: healthy false, leaking true"}},
		{"fix: it says where the handler hangs", 1, nil,
			verdict{text: "m1 hangs in " +
				"oneHangs.hanging.func2 (hosts.go:38)"}},

		{"mistake: wrong, even without the plant", 0, []string{"-plant=false"},
			verdict{failed: true, text: "~ failed, no extenders; " +
				"alarm: healthy true, leaking false"}},
		{"fix: without the plant", 0, []string{"-plant=false"},
			verdict{text: "~ failed, no extenders; " +
				"alarm: healthy false, leaking false"}},
	})
}
