package main

import (
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson05ClosedUnderItsUsers(t *testing.T) {
	tests := []struct {
		name  string
		serve databaseFunc
		want  []string // what happened, in order
	}{
		{"mistake: closed, then waited for", waitThenOpen, []string{
			"0.000s database opened",
			"0.500s signal",
			"0.500s database closed",
			"1.000s save failed",
			"1.000s save failed",
			"1.000s save failed",
		}},
		{"fix: waited for, then closed", openThenWait, []string{
			"0.000s database opened",
			"0.500s signal",
			"1.000s saved",
			"1.000s saved",
			"1.000s saved",
			"1.000s database closed",
		}},
	}
	line := regexp.MustCompile(`t=(\S+) msg=(?:"([a-z ]+)"|(\w+))`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var log strings.Builder
				s := newScene(io.MultiWriter(&log, t.Output()), 1)
				ignore := goleak.IgnoreCurrent()
				t.Log(threeSaves(t.Context(), s, tt.serve).text)
				var got []string
				for _, m := range line.FindAllStringSubmatch(log.String(), -1) {
					got = append(got, m[1]+" "+m[2]+m[3])
				}
				assert.Equal(t, tt.want, got, "what happened, in order")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}
