package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLesson06AckFirst(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, side string
		want       string // verdict
		restarts   []int  // that were begun: of m1, m2, ...
		failed     bool
	}{
		{"mistake: what was in progress is lost", "mistake",
			"killed and started again, lost: m3", []int{1, 1, 1, 1, 1}, true},
		{"fix: what was in progress is delivered again", "fix",
			"killed and started again, lost: none", []int{1, 1, 2, 1, 1},
			false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			endings := watchRun(t, lesson06, tt.side, 0)
			v := countLost(endings)
			assert.Equal(t, tt.want, v.text)
			assert.Equal(t, tt.failed, v.failed)
			assert.Equal(t, 0, endings[0].code, "status of the second process")
			var restarts []int
			for _, id := range []string{"m1", "m2", "m3", "m4", "m5"} {
				restarts = append(restarts, strings.Count(endings[0].printed,
					"msg=restarting id="+id+" "))
			}
			assert.Equal(t, tt.restarts, restarts, "restarts begun")
		})
	}
}
