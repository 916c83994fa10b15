package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A process in which a race was detected runs to its end, and exits with status
// 66. So each run has a process of its own, built with the race detector.
func TestLesson09ManyWriters(t *testing.T) {
	needRace(t)
	t.Parallel()
	tests := []struct {
		name     string
		side     string
		run      int
		wantHow  string
		wantRace int    // reports
		wantIn   string // where, as the report says
	}{
		{
			name: "mistake: each log line reads both fields", side: "mistake",
			wantHow: "exit status 66", wantRace: 1,
			wantIn: "writeFields",
		},
		{
			name: "mistake: one of them is mended", side: "mistake", run: 1,
			wantHow: "exit status 66", wantRace: 1,
			wantIn: "mendTheReport",
		},
		{
			name: "fix: each has its own result", side: "fix",
			wantHow: "exit status 0",
		},
	}
	names := regexp.MustCompile(`DATA RACE\n.*\n\s+main\.(\w+)\.`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := watchRun(t, lesson09, tt.side, tt.run)[0]
			assert.Equal(t, tt.wantHow, e.how, "how it ended")
			assert.Equal(t, tt.wantRace,
				strings.Count(e.printed, "WARNING: DATA RACE"), "reports")
			in := ""
			if m := names.FindStringSubmatch(e.printed); m != nil {
				in = m[1]
			}
			assert.Equal(t, tt.wantIn, in, "the function that the report names")
			assert.Equal(t, 1, strings.Count(e.printed,
				"msg=handled saved=true restarted=true"), "right anyway")
		})
	}
}
