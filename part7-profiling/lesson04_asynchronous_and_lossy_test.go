package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLesson04AsynchronousAndLossy(t *testing.T) {
	for _, row := range []struct {
		name string
		run  sceneRun
		want verdict
	}{
		{"mistake: it holds whatever comes", lesson04.mistakes[0],
			verdict{"waited 0s; 400 written, 0 dropped, 0 lost; " +
				"wrote 21 KB at once",
				true}},
		{"mistake: the handler waits again", lesson04.mistakes[1],
			verdict{"waited 3s; 400 written, 0 dropped, 0 lost; " +
				"wrote 0 KB at once",
				true}},
		{"mistake: lines are lost, and nothing tells", lesson04.mistakes[2],
			verdict{"waited 0s; 0 written, 0 dropped, 400 lost; " +
				"wrote 0 KB at once",
				true}},
		{"fix: what is dropped is counted, the rest is written",
			lesson04.fix[0],
			verdict{"waited 0s; 147 written, 253 dropped, 0 lost; " +
				"wrote 8 KB at once",
				false}},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				got := row.run.play(t.Context(), s)
				s.release()
				assert.Equal(t, row.want, got)
			})
		})
	}
}
