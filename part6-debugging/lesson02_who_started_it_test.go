package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLesson02WhoStartedIt(t *testing.T) {
	t.Parallel()
	assertVerdicts(t, lesson02, []verdictRow{
		{"mistake: no message and no origin", 0, nil,
			verdict{failed: true, text: "8 failed, 8 extenders found; " +
				"0 name a message, 0 name handleTen"}},
		{"fix: both, for each extender", 0, nil,
			verdict{text: "8 failed, 8 extenders found; " +
				"8 name a message, 8 name handleTen"}},
		{"fix: with another seed", 0, []string{"-seed=3"},
			verdict{text: "6 failed, 6 extenders found; " +
				"6 name a message, 6 name handleTen"}},
		{"fix: without the plant", 0, []string{"-plant=false"},
			verdict{text: "8 failed, 0 extenders found; " +
				"0 name a message, 0 name handleTen"}},
	})
}

// Whoever wants a dump without labels gets one.
func TestLesson02WithoutLabels(t *testing.T) {
	t.Parallel()
	c := *lesson02.fix[0].child
	c.env = []string{"GODEBUG=tracebacklabels=0"}
	endings, err := c.watch(t.Context(), t.Output(), 0, "fix", "2")
	require.NoError(t, err)
	assert.Contains(t, endings[0].printed,
		"extenders=8 with_message=0 with_origin=0")
}
