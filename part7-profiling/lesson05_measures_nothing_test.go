package main

import "testing"

func TestLesson05MeasuresNothing(t *testing.T) {
	t.Parallel()
	assertVerdicts(t, lesson05, []verdictRow{
		{"mistake: nothing is computed", 0, nil,
			verdict{failed: true, text: "a thousand times: mix ~ns, " +
				"an empty loop ~ns"}},
		{"mistake: it measures something else as well", 1, nil,
			verdict{failed: true, text: "a thousand times: encode ~ns, " +
				"by the clock ~ns"}},
		{"fix: the result is computed", 0, nil,
			verdict{text: "a thousand times: mix ~ns, " +
				"an empty loop ~ns"}},
		{"fix: it measures what it says", 1, nil,
			verdict{text: "a thousand times: encode ~ns, " +
				"by the clock ~ns"}},
	})
}
