package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson06DrainWithoutEnd(t *testing.T) {
	tests := []struct {
		name     string
		stop     stopFunc
		want     string
		wantLeft map[string]int // 59 minutes later
	}{
		{
			name: "mistake: it waits for all",
			stop: waitForAll,
			want: "not stopped",
			wantLeft: map[string]int{
				"chan receive in oneHangs.func4": 1, // the handler that hangs
				"select in waitForAll":           1,
			},
		},
		{
			name: "fix: it stops in stages",
			stop: (*Mandrill).stop,
			want: "stopped after 1.5s: abandoned m3",
			wantLeft: map[string]int{
				"chan receive in oneHangs.func4": 1,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got := "not stopped"
				go func() { got = oneHangs(t.Context(), s, tt.stop).text }()
				time.Sleep(59 * time.Minute)
				synctest.Wait()
				t.Log(got)
				assert.Equal(t, tt.want, got, "verdict")
				assert.Equal(t, tt.wantLeft, leaked(t, ignore), "left running")
				s.release()
				time.Sleep(30 * time.Second)
			})
		})
	}
}
