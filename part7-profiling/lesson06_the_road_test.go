package main

import "testing"

func TestLesson06TheRoad(t *testing.T) {
	t.Parallel()
	assertVerdicts(t, lesson06, []verdictRow{
		{"mistake: a goroutine for each lease", 0, nil,
			verdict{failed: true, text: "~ of 2000 leases kept, by " +
				"2000 goroutines and ~ bytes each"}},
		{"fix: no goroutine at all", 0, nil,
			verdict{text: "~ of 2000 leases kept, by 0 goroutines and " +
				"~ bytes each"}},
	})
}
