package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

// Where each closes, the program dies. A process of its own shows it.
func TestLesson03WhoCloses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		side         string
		wantCode     int
		wantWhy      string
		wantConsumed int
	}{
		{
			name: "mistake: each closes", side: "mistake",
			wantCode:     2,
			wantWhy:      "send on closed channel",
			wantConsumed: 3,
		},
		{
			name: "fix: closed after all", side: "fix",
			wantConsumed: 4,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := watchRun(t, lesson03, tt.side, 0)[0]
			assert.Equal(t, tt.wantCode, e.code, "exit status")
			assert.Equal(t, tt.wantWhy, e.why, "what Go said")
			assert.Equal(t, tt.wantConsumed,
				strings.Count(e.printed, "msg=consumed"), "messages consumed")
		})
	}
}

// If no publisher closes, the consumer waits for ever. Where the close waits
// for the publishers in the consumer's goroutine, all wait for each other.
func TestLesson03NeverCloses(t *testing.T) {
	tests := []struct {
		name       string
		publishAll publishAllFunc
		want       string         // 59 minutes later
		wantLeft   map[string]int // then
	}{
		{
			name:       "mistake: no publisher closes",
			publishAll: neverCloses,
			want:       "not ended",
			wantLeft:   map[string]int{"chan receive in twoPublishers": 1},
		},
		{
			name:       "mistake: it waits before it ranges",
			publishAll: waitThenRange,
			want:       "not ended",
			wantLeft: map[string]int{
				"sync.WaitGroup.Wait in waitThenRange": 1,
				"chan send in publishTwo":              2,
			},
		},
		{
			name:       "fix: closed after all",
			publishAll: closeAfterAll,
			want:       "4 of 4 consumed, took 600ms",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got := "not ended"
				go func() {
					got = twoPublishers(t.Context(), s, tt.publishAll).text
				}()
				time.Sleep(59 * time.Minute)
				synctest.Wait()

				t.Log(got)
				assert.Equal(t, tt.want, got, "verdict")
				assert.Equal(t, tt.wantLeft, leaked(t, ignore), "left running")
				release(s.queue)
				time.Sleep(2 * time.Second)
			})
		})
	}
}

// release ends what waits for a queue, on either side.
func release(queue chan Message) {
	for {
		select {
		case _, open := <-queue:
			if !open {
				return
			}
		case <-time.After(time.Second):
			close(queue)
			return
		}
	}
}
