package main

import (
	"runtime"
	"slices"
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
		tries int    // batches of runs
		shell string // starts the program, if not empty
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
			shell: drainEnv + `=1500ms exec "$0" "$@"`,
			want:  "never swallowed",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := lesson07
			list := map[string]*[]sceneRun{
				"mistake": &l.mistakes, "fix": &l.fix,
			}[tt.side]
			*list = slices.Clone(*list)
			c := *(*list)[tt.run].child
			c.shell = tt.shell
			(*list)[tt.run].child = &c
			runs, swallowed := 0, 0
			for range tt.tries {
				for _, e := range watchRun(t, l, tt.side, tt.run) {
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
