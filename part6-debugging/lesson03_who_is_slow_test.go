package main

import "testing"

func TestLesson03WhoIsSlow(t *testing.T) {
	t.Parallel()
	assertVerdicts(t, lesson03, []verdictRow{
		{"mistake: it warns about what only waits", 0, nil,
			verdict{failed: true, text: "~ calls are slow, " +
				"~ of them only wait"}},
		{"fix: it finds what does harm", 0, nil,
			verdict{text: "lag: waiting ~ms, computing ~ms, saving ~ms; " +
				"lock: saveInTurn"}},
	})
}
