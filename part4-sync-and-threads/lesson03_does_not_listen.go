// Lesson 4.3: the call that does not listen.
//
// To cancel a context is to ask. Whatever does not look at the context goes on,
// and a read can't look.

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// readReply is the mistake. It takes a context, and looks at it, too. But then
// it reads, and a read doesn't end with the context.
func readReply(ctx context.Context, from console) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return bufio.NewReader(from).ReadString('\n')
}

// readReplyOrClose is the fix. When ctx ends, it closes what it reads from, so
// that the read returns.
func readReplyOrClose(ctx context.Context, from console) (string, error) {
	stop := context.AfterFunc(ctx, func() { from.Close() })
	defer stop()
	reply, err := readReply(ctx, from)
	if ctx.Err() != nil {
		return "", context.Cause(ctx) // not "use of closed connection"
	}
	return reply, err
}

// readReplyByThen is the fix that keeps the connection. A deadline in the past
// ends the read that is waiting. The next read is to have none, so we wait
// until it has been set, and then we clear it.
func readReplyByThen(ctx context.Context, from console) (string, error) {
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		from.SetReadDeadline(time.Unix(1, 0))
		close(set)
	})
	reply, err := readReply(ctx, from)
	if !stop() { // the function has been called
		<-set
		from.SetReadDeadline(time.Time{})
		return "", context.Cause(ctx) // not "i/o timeout"
	}
	return reply, err
}

// nameMessage is the second mistake. It says only which message is abandoned.
// Then the process exits, and where it hung can't be found out any more.
func nameMessage(abandoned error) string {
	return abandoned.Error()
}

// namePlace is the fix, for work that nothing can end. It looks where the work
// hangs, while it still hangs. (It finds one place. The service's main prints
// everything that stuck returns.)
func namePlace(abandoned error) string {
	place := regexp.MustCompile(`\w+\.go:\d+`).FindString(stuck())
	return fmt.Sprintf("%v, stuck in %s", abandoned, place)
}

// A console is where a host replies. A net.Conn is one, and so is a *os.File.
type console interface {
	io.ReadCloser
	SetReadDeadline(t time.Time) error
}

// hostIsSilent has a handler wait for the reply of a host, which never comes.
// After a second the work is cancelled.
func hostIsSilent(
	ctx context.Context, s *scene,
	read func(ctx context.Context, from console) (string, error),
) verdict {
	from, host := net.Pipe()
	s.release = func() { host.Close() }
	work, cancel := context.WithCancelCause(ctx)
	var handler sync.WaitGroup
	handler.Go(func() {
		_, err := read(work, from)
		s.log.Info("handler ended", "id", "m1", "err", err)
	})
	sleep(ctx, time.Second)
	s.log.Info("cancelling")
	cancel(errDrainDeadline)
	handler.Wait()
	return verdict{text: fmt.Sprintf("ended after %v", s.elapsed())}
}

// oneHangs stops a service in which a restart hangs, and ignores its context.
func oneHangs(
	ctx context.Context, s *scene, say func(abandoned error) string,
) verdict {
	end := make(chan struct{})
	s.release = func() { close(end) }
	hang := func(context.Context, Message) error {
		<-end
		return nil
	}
	m := &Mandrill{
		log: s.log, slots: 1, drain: time.Second, grace: time.Second / 2,
	}
	work, cancel := context.WithCancelCause(ctx)
	slots := semaphore.NewWeighted(1)
	slots.TryAcquire(1)
	d := &Delivery{Message: newMessage(s.seed, 1), Attempt: 1}
	m.inFlight.begin(d)
	go func() {
		defer slots.Release(1)
		m.try(work, d, hang)
		m.inFlight.end(d, nil, 0)
	}()
	stopped, signal := context.WithCancelCause(ctx)
	signal(errStopped)
	var failed error
	var puller sync.WaitGroup // it has ended
	err := m.stop(stopped, &failed, slots, cancel, &puller)
	said := say(err)
	s.log.Error(said)
	return verdict{said, !strings.Contains(said, "stuck in")}
}

// toldWhere judges by what the process has logged.
func toldWhere(endings []ending) verdict {
	m := regexp.MustCompile(`msg="(abandoned .*)"\n`).
		FindStringSubmatch(endings[0].printed)
	if m == nil {
		return verdict{text: endings[0].how}
	}
	return verdict{m[1], !strings.Contains(m[1], "stuck in")}
}

var lesson03 = lesson{
	number: 3, core: true, title: "the call that does not listen",
	watch: "whether the handler ends, and what we learn if it can't",
	mistakes: slices.Concat(
		inChild(child{hangs: true}, runs(hostIsSilent, readReply)),
		inChild(child{verdict: toldWhere}, runs(oneHangs, nameMessage))),
	fix: slices.Concat(
		runs(hostIsSilent, readReplyOrClose, readReplyByThen),
		runs(oneHangs, namePlace)),
}
