package main

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson03ErrorNobodyRetrieves(t *testing.T) {
	tests := []struct {
		name     string
		serve    serveFunc
		want     string         // the verdict, when it was watched an hour
		wantLeft map[string]int // the goroutines, just before
	}{
		{"mistake: the error is gone", goBoth,
			"3 consumed, returned after 59m0s: <nil>",
			map[string]int{
				"select in publish":      1, // parked on the full queue
				"chan receive in goBoth": 1, // the service, all is well
			}},
		{"fix: it ends the service at once", groupBoth,
			"3 consumed, returned after 350ms: no such host",
			nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(io.Discard, 1), goleak.IgnoreCurrent()
				ended := make(chan verdict, 1)
				go func() {
					ended <- failAtFourIn(
						t.Context(), s, tt.serve, 59*time.Minute)
				}()
				time.Sleep(58 * time.Minute)
				synctest.Wait()
				assert.Equal(t, tt.wantLeft, leaked(ignore))
				assert.Equal(t, tt.want, (<-ended).text)
			})
		})
	}
}
