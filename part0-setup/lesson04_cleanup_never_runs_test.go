package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLesson04CleanupNeverRuns(t *testing.T) {
	t.Parallel()
	type printed struct{ closed, workFailed, closeFailed int }
	tests := []struct {
		name string
		side string
		run  int
		want printed
	}{
		{
			name: "mistake: os.Exit skips what is deferred", side: "mistake",
			run:  0,
			want: printed{closed: 0, workFailed: 1, closeFailed: 0},
		},
		{
			name: "mistake: return skips what comes last", side: "mistake",
			run:  1,
			want: printed{closed: 0, workFailed: 1, closeFailed: 0},
		},
		{
			name: "fix: the close is deferred, and both errors are returned",
			side: "fix",
			want: printed{closed: 1, workFailed: 1, closeFailed: 1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := watchRun(t, lesson04, tt.side, tt.run)[0]
			assert.Equal(t, 1, e.code, "exit status")
			assert.Equal(t, tt.want, printed{
				closed:      strings.Count(e.printed, "msg=closed"),
				workFailed:  strings.Count(e.printed, "disk full"),
				closeFailed: strings.Count(e.printed, "journal not written"),
			}, "what was printed")
		})
	}
}
