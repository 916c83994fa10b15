package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson03ErrorNobodyRetrieves(t *testing.T) {
	tests := []struct {
		name     string
		run      runFunc
		want     string         // the verdict, after 59 minutes
		wantLeft map[string]int // a minute before that
	}{
		{
			name: "mistake: the error is gone",
			run:  goBoth,
			want: "3 consumed, no error in 59m0s",
			wantLeft: map[string]int{
				"select in publish":      1, // blocked on the full queue
				"chan receive in goBoth": 1, // it waits to be stopped
			},
		},
		{
			name: "fix: the error ends the service at once",
			run:  runBoth,
			want: "3 consumed, ended after 350ms: no such host",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				ended := make(chan verdict, 1)
				go func() {
					ended <- failAtFourIn(
						t.Context(), s, tt.run, 59*time.Minute)
				}()
				time.Sleep(58 * time.Minute)
				synctest.Wait()
				assert.Equal(t, tt.wantLeft, leaked(t, ignore), "left running")
				got := (<-ended).text
				t.Log(got)
				assert.Equal(t, tt.want, got, "after 59 minutes")
			})
		})
	}
}
