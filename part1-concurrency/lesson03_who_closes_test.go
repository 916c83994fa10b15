package main

import (
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
		name, side string
		wantStatus int
		wantEnd    []string // the last lines
	}{
		{"mistake: each closes", "mistake", 2, []string{
			"panic: send on closed channel",
			"\tpanic: close of closed channel [recovered, repanicked]",
		}},
		{"fix: closed after all", "fix", 0, []string{
			"4 of 4 consumed, took 600ms",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			status, lines := start(t, "0", tt.side, "3").end()
			assert.Equal(t, tt.wantStatus, status)
			assert.Subset(t, lines, tt.wantEnd)
		})
	}
}

// Where nobody closes, the consumer waits for ever.
func TestLesson03NobodyCloses(t *testing.T) {
	tests := []struct {
		name       string
		publishAll publishAllFunc
		want       string
		wantLeft   map[string]int
	}{
		{"mistake: nobody closes", nobodyCloses, "not ended", map[string]int{
			"chan receive in twoPublishers.func2":  1, // the consumer
			"sync.WaitGroup.Wait in twoPublishers": 1, // who waits for it
		}},
		{"fix: closed after all", closeAfterAll, "ended at 600ms", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newStage(t.Output(), 1), goleak.IgnoreCurrent()
				var queue chan<- Message
				got := "not ended"
				go func() {
					twoPublishers(t.Context(), s,
						func(q chan<- Message, publishers []publishFunc) {
							queue = q
							tt.publishAll(q, publishers)
						})
					got = "ended at " + time.Since(s.start).String()
				}()
				time.Sleep(59 * time.Minute)
				synctest.Wait()

				assert.Equal(t, tt.want, got)
				assert.Equal(t, tt.wantLeft, leaked(ignore))
				if got == "not ended" {
					close(queue) // release it
				}
			})
		})
	}
}
