package main

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The second mistake shows in a share of the runs, and how large that is
// depends on the machine. So we try until it has shown, five hundred times at
// most.
func TestLesson07SecondCtrlC(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows can't send these signals")
	}
	t.Parallel()
	tests := []struct {
		name  string
		side  string
		run   int
		tries int // batches of runs
		want  string
	}{
		{
			name: "mistake: it stops listening when it is done",
			side: "mistake", run: 0,
			tries: 1,
			want:  "always swallowed",
		},
		{
			name: "mistake: it stops listening when it is told",
			side: "mistake", run: 1,
			tries: 17,
			want:  "sometimes swallowed",
		},
		{
			name: "fix: it stops listening, and then says so", side: "fix",
			tries: 1,
			want:  "never swallowed",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			runs, swallowed := 0, 0
			for range tt.tries {
				for _, e := range watchRun(t, lesson07, tt.side, tt.run) {
					runs++
					if strings.Contains(e.printed, "msg=drained") {
						swallowed++
						assert.Equal(t, "exit status 0", e.how, "how it ended")
					} else {
						assert.Equal(t, "signal: interrupt", e.how,
							"how it ended")
					}
					assert.Equal(t, 1, strings.Count(e.printed, "msg=draining"),
						"it heard the first signal")
				}
				if swallowed > 0 {
					break
				}
			}
			got := "sometimes swallowed"
			switch swallowed {
			case 0:
				got = "never swallowed"
			case runs:
				got = "always swallowed"
			}
			assert.Equal(t, tt.want, got, "%d of %d", swallowed, runs)
		})
	}
}
