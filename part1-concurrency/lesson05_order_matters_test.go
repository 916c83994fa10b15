package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLesson05OrderMatters(t *testing.T) {
	const sec = time.Second
	tests := []struct {
		name    string
		consume func(queue <-chan Message, handle func(Message))
		want    []time.Duration // when a restart ended
		took    time.Duration
	}{
		{"mistake: one host is restarted twice", allAtOnce,
			[]time.Duration{1 * sec, 1 * sec, 1 * sec}, 1 * sec},
		{"fix: each once, and none is held up", inLanes,
			[]time.Duration{1 * sec, 1 * sec}, 1300 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				sameHostTwice(t.Context(), s, tt.consume)
				assert.Equal(t, tt.want, s.when("restarted"))
				assert.Equal(t, tt.took, time.Since(s.start))
			})
		})
	}
}

// In a lane, messages are handled in the order in which they came, whoever
// comes in between.
func TestLesson05LanesKeepOrder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		queue := make(chan Message, 100)
		for i := range 100 {
			msg := newMessage(1, i+1)
			msg.Instance = []string{"cattle-even", "cattle-odd"}[i%2]
			queue <- msg
		}
		close(queue)
		handled := map[string][]string{}
		lock := make(chan struct{}, 1)
		inLanes(queue, func(msg Message) {
			time.Sleep(time.Second)
			lock <- struct{}{}
			handled[msg.Instance] = append(handled[msg.Instance], msg.ID)
			<-lock
		})
		for i := range 100 {
			lane := []string{"cattle-even", "cattle-odd"}[i%2]
			assert.Equal(t, newMessage(1, i+1).ID, handled[lane][i/2])
		}
	})
}
