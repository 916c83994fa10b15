package main

import "testing"

func TestLesson02LostAtExit(t *testing.T) {
	t.Parallel()
	assertVerdicts(t, lesson02, []verdictRow{
		{"mistake: the profile is empty", 0, nil, verdict{failed: true,
			text: "stopped with TERM; the profile has 0 bytes"}},
		{"fix: the profile shows who was busy", 0, nil,
			verdict{text: "stopped with TERM; the profile shows ~ms in busy"}},
	})
}
