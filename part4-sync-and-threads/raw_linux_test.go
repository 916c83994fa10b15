package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

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
	for {
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
