package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A gate is a writer that takes lines only while it is open.
type gate struct {
	lines
	open chan struct{}
}

// Write implements io.Writer.
func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.lines.Write(p)
}

// A log that nobody reads stops nobody. What fits is kept, in order; what
// doesn't is counted, and the count is in the log.
func TestLogBuffer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		l := newLogBuffer(g, 100)
		fmt.Fprintln(l, "the first line")
		time.Sleep(time.Second) // it is being written, and blocks
		for n := range 20 {
			k, err := fmt.Fprintf(l, "line %02d\n", n) // 8 bytes
			assert.Equal(t, 8, k)
			assert.NoError(t, err)
		}
		close(g.open)
		time.Sleep(time.Second)
		fmt.Fprintln(l, "there is room again")
		require.NoError(t, l.Close(t.Context()))
		want := "the first line\n"
		for n := range 12 {
			want += fmt.Sprintf("line %02d\n", n)
		}
		assert.Equal(t, want+"level=WARN msg=\"log lines dropped\" lines=8\n"+
			"there is room again\n", g.copy().text.String())
	})
}

// Close waits for the last lines, however long they take, unless the service
// has been told to stop.
func TestLogBufferClose(t *testing.T) {
	const never = 30 * time.Minute
	for _, row := range []struct {
		name          string
		opens, stopAt time.Duration // when the writer takes lines; the signal
		want          error
		wantTook      time.Duration
	}{
		{"in time", flushTime - 1, 0, nil, flushTime - 1},
		{"too late", flushTime + 1, 0, errNotFlushed, flushTime},
		{"slow, and not stopped", time.Minute, never, nil, time.Minute},
		{"stopped while it waits", never, time.Minute, errNotFlushed,
			time.Minute + flushTime},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				ctx, stop := context.WithTimeout(t.Context(), row.stopAt)
				defer stop()
				g := &gate{open: make(chan struct{})}
				l := newLogBuffer(g, 100)
				fmt.Fprintln(l, "the last line")
				begun := time.Now()
				time.AfterFunc(row.opens, func() { close(g.open) })
				assert.Equal(t, row.want, l.Close(ctx))
				assert.Equal(t, row.wantTook, time.Since(begun))
				_, err := fmt.Fprintln(l, "one more")
				assert.Equal(t, errLogClosed, err)
				time.Sleep(never)
				assert.Equal(t, "the last line\n", g.copy().text.String())
			})
		})
	}
}

// What is dropped is missing where the log says so: after a long line has been
// dropped, a short one is not taken in its place.
func TestLogBufferOrder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		l := newLogBuffer(g, 20)
		fmt.Fprintln(l, "first")
		time.Sleep(time.Second) // it is being written
		fmt.Fprintln(l, "second")
		fmt.Fprintln(l, "a line that is too long")
		fmt.Fprintln(l, "short")
		close(g.open)
		require.NoError(t, l.Close(t.Context()))
		assert.Equal(t, "first\nsecond\n"+
			"level=WARN msg=\"log lines dropped\" lines=2\n",
			g.copy().text.String())
	})
}

// Whoever logs at the same time gets whole lines, all of them.
func TestLogBufferShared(t *testing.T) {
	var out lines
	l := newLogBuffer(&out, logRoom)
	var all sync.WaitGroup
	for n := range 50 {
		all.Go(func() {
			for i := range 100 {
				fmt.Fprintf(l, "writer %d line %d\n", n, i)
			}
		})
	}
	all.Wait()
	require.NoError(t, l.Close(t.Context()))
	next := make(map[int]int)
	for line := range strings.Lines(out.text.String()) {
		var n, i int
		_, err := fmt.Sscanf(line, "writer %d line %d\n", &n, &i)
		require.NoError(t, err, line)
		assert.Equal(t, next[n], i, "of writer %d", n)
		next[n]++
	}
	assert.Len(t, next, 50)
}

// The last lines of the service are there, however it ends.
func TestLastLine(t *testing.T) {
	for _, args := range [][]string{
		{"-n", "1", "-speed", "100"}, {"-load", "1"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			var out lines
			require.NoError(t, run(t.Context(), args, &out))
			assert.Equal(t, 1, out.count("msg=ended messages=1 "))
			assert.True(t, strings.HasSuffix(out.text.String(), " left=0\n"))
		})
	}
}
