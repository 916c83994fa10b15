package main

import "testing"

func TestLesson01WhereIsEverybody(t *testing.T) {
	t.Parallel()
	assertVerdicts(t, lesson01, []verdictRow{
		{"mistake: the dump costs the process", 0, nil,
			verdict{failed: true, text: "8 failed, 8 extenders found; " +
				"the process died, exit status 2"}},
		{"mistake: everyone may see the stacks", 1, nil,
			verdict{failed: true, text: "8 failed, 8 extenders found; " +
				"the public can see them, status 200"}},
		{"fix: only this machine may", 0, nil,
			verdict{text: "8 failed, 8 extenders found; " +
				"the public can't see them"}},

		// Others fail with another seed, and the tool finds as many.
		{"mistake: the dump, with another seed", 0, []string{"-seed=3"},
			verdict{failed: true, text: "6 failed, 6 extenders found; " +
				"the process died, exit status 2"}},
		{"fix: with another seed", 0, []string{"-seed=3"},
			verdict{text: "6 failed, 6 extenders found; " +
				"the public can't see them"}},

		// Without the plant there is nothing to find.
		{"mistake: the dump, without the plant", 0, []string{"-plant=false"},
			verdict{failed: true, text: "8 failed, 0 extenders found; " +
				"the process died, exit status 2"}},
		{"fix: without the plant", 0, []string{"-plant=false"},
			verdict{text: "8 failed, 0 extenders found; " +
				"the public can't see them"}},
	})
}
