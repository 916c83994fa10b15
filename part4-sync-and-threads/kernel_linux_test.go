package main

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A read in the kernel, past Go's runtime, goes on when its file descriptor is
// closed: what is written after that still arrives. So closing is no way to end
// it.
func TestRawReadGoesOn(t *testing.T) {
	var pipe [2]int
	require.NoError(t, syscall.Pipe(pipe[:]))
	thread, read := make(chan int, 1), make(chan string, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- syscall.Gettid()
		text := make([]byte, 10)
		n, err := syscall.Read(pipe[0], text)
		read <- fmt.Sprint(string(text[:max(n, 0)]), " ", err)
	}()
	path := fmt.Sprintf("/proc/self/task/%d/syscall", <-thread)
	reading := fmt.Sprintf("%d %#x ", syscall.SYS_READ, pipe[0])
	for began := time.Now(); time.Since(began) < 30*time.Second; {
		now, err := os.ReadFile(path)
		require.NoError(t, err)
		if strings.HasPrefix(string(now), reading) {
			break
		}
		runtime.Gosched()
	}
	require.NoError(t, syscall.Close(pipe[0]))
	_, err := syscall.Write(pipe[1], []byte("late"))
	require.NoError(t, err)
	assert.Equal(t, "late <nil>", <-read)
	require.NoError(t, syscall.Close(pipe[1]))
}

// All calls run on one thread, although other goroutines want one, too.
func TestOneThread(t *testing.T) {
	calls := make(chan func())
	var owner, others sync.WaitGroup
	owner.Go(func() { onOneThread(calls) })
	threads := make(map[int]int) // calls by thread
	for range 200 {
		others.Go(func() { // from any goroutine
			calls <- func() {
				for range 20 { // each may go on in another thread
					runtime.Gosched()
				}
				threads[syscall.Gettid()]++
			}
		})
	}
	others.Wait()
	close(calls)
	owner.Wait()
	assert.Len(t, threads, 1, "threads")
	for _, n := range threads {
		assert.Equal(t, 200, n, "calls")
	}
}

// A process that has ended and was not waited for is a zombie.
func TestZombie(t *testing.T) {
	t.Parallel()
	s := newScene(t.Output(), 1)
	v := thousandLines(t.Context(), s, readToEOF)
	assert.True(t, v.failed, v.text)
	path := fmt.Sprintf("/proc/%d/stat", s.worker.Process.Pid)
	var state string
	for began := time.Now(); state != "Z"; { // its outputs are closed before
		require.Less(t, time.Since(began), 30*time.Second, state)
		stat, err := os.ReadFile(path)
		require.NoError(t, err)
		state = strings.Fields(string(stat))[2] // after "pid (mayhem.exe)"
		runtime.Gosched()
	}
	s.release()
	_, err := os.ReadFile(path)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}
