package main

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson05CheckThenAct(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name     string
		dispatch dispatchFunc
		want     []time.Duration // when a restart ended
		wantTook time.Duration
	}{
		{
			name:     "mistake: one host is restarted twice",
			dispatch: allAtOnce,
			want:     []time.Duration{1000 * ms, 1000 * ms, 1100 * ms},
			wantTook: 1100 * ms,
		},
		{
			name:     "fix: a lock per host",
			dispatch: lockPerHost,
			want:     []time.Duration{1000 * ms, 1000 * ms},
			wantTook: 1300 * ms,
		},
		{
			name:     "fix: a host always has the same worker",
			dispatch: workersByHost,
			want:     []time.Duration{1000 * ms, 1000 * ms},
			wantTook: 1300 * ms,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				t.Log(sameHostTwice(t.Context(), s, tt.dispatch).text)
				assert.Equal(t, fmt.Sprint(tt.want),
					fmt.Sprint(s.when("restarted")),
					"restarted at")
				assert.Equal(t, tt.wantTook, time.Since(s.start), "took")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}

// A mutex per host works as well. It is held while waiting, and that stops
// virtual time, so it has to be shown in real time.
func TestLesson05Mutex(t *testing.T) {
	t.Parallel()
	s := newScene(t.Output(), 1)
	t.Log(sameHostTwice(t.Context(), s, func(
		queue <-chan Message, handle func(Message),
	) {
		var handlers sync.WaitGroup
		defer handlers.Wait()
		locks := make(map[string]*sync.Mutex)
		for msg := range queue {
			if locks[msg.Instance] == nil {
				locks[msg.Instance] = new(sync.Mutex)
			}
			lock := locks[msg.Instance]
			handlers.Go(func() {
				lock.Lock()
				defer lock.Unlock()
				handle(msg)
			})
		}
	}).text)
	assert.Equal(t, 2, s.count("restarted"), "restarts")
}

// A worker handles the messages for a host in the order in which they came,
// whatever comes in between.
func TestLesson05Order(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		hosts := []string{"cattle-even", "cattle-odd"}
		queue := make(chan Message, 100)
		want := make(map[string][]string)
		for i := range 100 {
			msg := newMessage(1, i+1)
			msg.Instance = hosts[i%2]
			want[msg.Instance] = append(want[msg.Instance], msg.ID)
			queue <- msg
		}
		close(queue)
		handled := make(map[string][]string)
		var mu sync.Mutex
		workersByHost(queue, func(msg Message) {
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			handled[msg.Instance] = append(handled[msg.Instance], msg.ID)
		})
		assert.Equal(t, want, handled, "messages by host, in order")
	})
}
