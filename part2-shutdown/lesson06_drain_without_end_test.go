package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson06DrainWithoutEnd(t *testing.T) {
	tests := []struct {
		name string
		wait func(
			ended <-chan string, n int, cancel context.CancelCauseFunc,
		) (left int)
		want     string
		wantLeft map[string]int // an hour later
	}{
		{"mistake: it waits for all", waitForAll, "not back", map[string]int{
			"chan receive in oneHangs.func5": 1, // the handler that hangs
			"chan receive in waitForAll":     1,
		}},
		{"fix: it waits in stages", waitInStages,
			"back after 1.5s, 1 of 3 abandoned", map[string]int{
				"chan receive in oneHangs.func5": 1,
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got := "not back"
				go func() { got = oneHangs(t.Context(), s, tt.wait).text }()
				time.Sleep(59 * time.Minute)
				synctest.Wait()
				assert.Equal(t, tt.want, got)
				assert.Equal(t, tt.wantLeft, leaked(t, ignore))
				s.release()
			})
		})
	}
}
