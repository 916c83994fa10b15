package main

import (
	"context"
	"net"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestLesson03DoesNotListen(t *testing.T) {
	hang := map[string]int{"chan receive in oneHangs.func2": 1}
	tests := []struct {
		name     string
		play     func(context.Context, *scene) verdict
		want     string // the verdict
		wantEnd  time.Duration
		wantLeft map[string]int // 59 minutes later
	}{
		{"mistake: it reads on", lesson03.mistakes[0].play,
			`^not ended$`, 0, map[string]int{
				"select in readReply":                 1,
				"sync.WaitGroup.Wait in hostIsSilent": 1,
			}},
		{"fix: it closes the connection", lesson03.fix[0].play,
			`^the handler ended$`, 500 * time.Millisecond, nil},
		{"fix: it sets a deadline", lesson03.fix[1].play,
			`^the handler ended$`, 500 * time.Millisecond, nil},
		{"mistake: the place is not named", lesson03.mistakes[1].play,
			`^abandoned m1, and where it hung is lost$`,
			1500 * time.Millisecond, hang},
		{"fix: the place is named", lesson03.fix[2].play,
			`^abandoned m1, stuck in lesson03_\w+\.go:\d+$`,
			1500 * time.Millisecond, hang},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				got, ended := "not ended", time.Duration(0)
				go func() {
					got = tt.play(t.Context(), s).text
					ended = s.elapsed()
				}()
				time.Sleep(59 * time.Minute)
				synctest.Wait()
				t.Log(got)
				assert.Regexp(t, tt.want, got, "verdict")
				assert.Equal(t, tt.wantEnd, ended, "ended")
				assert.Equal(t, tt.wantLeft, leaked(t, ignore), "left running")
				s.release()
				time.Sleep(30 * time.Second)
			})
		})
	}
}

// Both fixes end a read of a real connection, and of a real file. (The file is
// a pipe.)
func TestLesson03EndsRealReads(t *testing.T) {
	for name, read := range map[string]func(
		context.Context, console) (string, error){
		"close": readReplyOrClose, "deadline": readReplyByThen,
	} {
		t.Run(name+" a connection", func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer l.Close()
			conn, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			assertEnds(t, read, conn)
		})
		t.Run(name+" a file", func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("on Windows, os.Pipe has no deadlines")
			}
			r, w, err := os.Pipe()
			require.NoError(t, err)
			defer w.Close()
			defer r.Close()
			assertEnds(t, read, r)
		})
	}
}

// assertEnds checks that a read ends when it is cancelled while it waits.
func assertEnds(
	t *testing.T, read func(context.Context, console) (string, error),
	from console,
) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := read(ctx, signalling{from, func() { cancel(errStopped) }})
		ended <- err
	}()
	select {
	case err := <-ended:
		assert.Equal(t, errStopped, err)
	case <-time.After(30 * time.Second):
		assert.Fail(t, "the read goes on")
	}
}

// A reply that comes is returned. When the context ends later, the connection
// still works; the fix with the deadline leaves it working even if it was
// cancelled.
func TestLesson03KeepsConnection(t *testing.T) {
	for name, read := range map[string]func(
		context.Context, console) (string, error){
		"close": readReplyOrClose, "deadline": readReplyByThen,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				from, host := net.Pipe()
				defer from.Close()
				answer := func(reply string) {
					go host.Write([]byte(reply + "\n"))
				}
				for _, reply := range []string{"20%", "40%"} {
					ctx, cancel := context.WithCancel(t.Context())
					answer(reply)
					got, err := read(ctx, from)
					assert.NoError(t, err)
					assert.Equal(t, reply+"\n", got)
					cancel()
					synctest.Wait()
				}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				_, err := read(ctx, from)
				assert.ErrorIs(t, err, context.Canceled)
				answer("60%")
				got, _ := readReply(t.Context(), from)
				assert.Equal(t, name == "deadline", got == "60%\n", got)
				host.Close()
			})
		})
	}
}

// A signalling console calls f when it is read from.
type signalling struct {
	console
	f func()
}

// Read implements io.Reader.
func (s signalling) Read(p []byte) (int, error) {
	s.f()
	return s.console.Read(p)
}
