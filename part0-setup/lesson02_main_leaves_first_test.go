package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// main's own deferred calls run when it returns. Those of the other goroutines
// don't.
func TestLesson02MainLeavesFirst(t *testing.T) {
	t.Parallel()
	type printed struct{ consumed, mainEnded, consumerEnded int }
	tests := []struct {
		name string
		side string
		want printed
	}{
		{
			name: "mistake: main does not wait", side: "mistake",
			want: printed{consumed: 0, mainEnded: 1, consumerEnded: 0},
		},
		{
			name: "fix: main waits for both", side: "fix",
			want: printed{consumed: 5, mainEnded: 1, consumerEnded: 1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := watchRun(t, lesson02, tt.side, 0)[0]
			assert.Equal(t, 0, e.code, "exit status")
			assert.Equal(t, tt.want, printed{
				consumed:      strings.Count(e.printed, "msg=consumed"),
				mainEnded:     strings.Count(e.printed, `"main ended"`),
				consumerEnded: strings.Count(e.printed, `"consumer ended"`),
			}, "what was printed")
		})
	}
}
