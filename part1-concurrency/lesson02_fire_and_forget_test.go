package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson02FireAndForget(t *testing.T) {
	const sec = time.Second
	tests := []struct {
		name     string
		send     sendFunc
		wantSent []time.Duration // when the first ten successful sends returned
		wantLast error           // what the last send returned
		wantLeft map[string]int  // when the consumer has gone
	}{
		{
			name:     "mistake: the publisher never waits",
			send:     sendAndForget,
			wantSent: []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			wantLeft: map[string]int{"chan send in sendAndForget.func1": 95},
		},
		{
			name:     "fix: it waits for room",
			send:     sendOrWait,
			wantSent: []time.Duration{0, 0, 1 * sec, 2 * sec, 3 * sec},
			wantLast: errConsumerGone,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				var sent []time.Duration
				var last error
				go func() {
					t.Log(publishHundred(t.Context(), s, func(
						ctx context.Context, queue chan<- Message, msg Message,
					) error {
						last = tt.send(ctx, queue, msg)
						if last == nil {
							sent = append(sent, time.Since(s.start))
						}
						return last
					}).text)
				}()
				time.Sleep(59 * time.Minute)
				synctest.Wait()
				assert.Equal(t, tt.wantSent, sent[:min(10, len(sent))],
					"sent at")
				assert.Equal(t, tt.wantLast, last, "what the last returned")
				assert.Equal(t, tt.wantLeft, leaked(t, ignore), "left running")
				s.release()
			})
		})
	}
}

func TestLesson02TimedOut(t *testing.T) {
	tests := []struct {
		name     string
		answer   answerFunc
		want     string
		wantLeft map[string]int
	}{
		{
			name:     "mistake: a goroutine for each call stays",
			answer:   answerUnbuffered,
			want:     "10 of 10 calls timed out, 10 goroutines parked",
			wantLeft: map[string]int{"chan send in answerUnbuffered.func1": 10},
		},
		{
			name:   "fix: the result has a place",
			answer: answerBuffered,
			want:   "10 of 10 calls timed out, 0 goroutines parked",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got := tenTimeOuts(t.Context(), s, tt.answer)
				t.Log(got.text)
				assert.Equal(t, tt.want, got.text, "verdict")
				assert.Equal(t, tt.wantLeft, leaked(t, ignore), "left running")
				s.release()
			})
		})
	}
}

// What the publisher sends in order, the consumer receives in order. (What
// sendAndForget sends comes in the order in which its goroutines happen to
// run.)
func TestLesson02Order(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		queue := make(chan Message, 2)
		go func() {
			defer close(queue)
			for i := range 100 {
				sendOrWait(t.Context(), queue, newMessage(1, i+1))
			}
		}()
		n := 0
		for msg := range queue {
			n++
			assert.Equal(t, newMessage(1, n), msg, "message number %d", n)
		}
		assert.Equal(t, 100, n, "messages received")
	})
}
