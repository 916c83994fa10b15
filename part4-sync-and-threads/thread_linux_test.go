package main

import (
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// All calls run on one thread, although others want one, too. In the end the
// goroutine gives its thread back.
func TestOneThread(t *testing.T) {
	calls := make(chan func())
	var owner, others sync.WaitGroup
	owner.Go(func() { onOneThread(calls) })
	threads := make(map[int]int) // calls by thread
	for range 1000 {
		others.Go(func() { // from any goroutine
			calls <- func() {
				runtime.Gosched() // it may go on in another thread
				threads[syscall.Gettid()]++
			}
		})
	}
	others.Wait()
	close(calls)
	owner.Wait()
	assert.Len(t, threads, 1, "threads")
	for _, n := range threads {
		assert.Equal(t, 1000, n, "calls")
	}
}
