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
// ends the read that is waiting. The next read must not inherit that deadline,
// so we wait until it has been set, and then clear it.
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

// namePlace is the fix, for work that nothing can end. It finds out where the
// work hangs, while it still hangs, and names the first place that is in our
// code. (The service's main prints everything that stuck returns.)
func namePlace(abandoned error) string {
	place := regexp.MustCompile(`(\w+\.go):\d+`)
	for _, m := range place.FindAllStringSubmatch(stuck(), -1) {
		if _, err := sources.Open(m[1]); err == nil { // a file of ours
			return fmt.Sprintf("%v, stuck in %s", abandoned, m[0])
		}
	}
	return abandoned.Error()
}

// A console is where a host replies. A net.Conn is one, and so is a *os.File.
type console interface {
	io.ReadCloser
	SetReadDeadline(t time.Time) error
}

// hostIsSilent has a handler wait for the reply of a host, which never comes.
// After half a second the work is cancelled.
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
	sleep(ctx, time.Second/2)
	s.log.Info("cancelling")
	cancel(errDrainDeadline)
	handler.Wait()
	return verdict{text: "the handler ended"}
}

// handlerEnded judges by what the process has logged.
func handlerEnded(endings []ending) verdict {
	if !strings.Contains(endings[0].printed, "handler ended") {
		return died(endings)
	}
	return verdict{text: "the handler ended"}
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
	return toldWhere([]ending{{printed: said}})
}

// toldWhere judges by what was printed last.
func toldWhere(endings []ending) verdict {
	said := regexp.MustCompile(`abandoned m1(, stuck in .*\d)?`).
		FindString(endings[0].printed)
	if said == "abandoned m1" {
		return verdict{said + ", and where it hung is lost", true}
	}
	return verdict{text: said}
}

var lesson03 = lesson{
	number: 3, core: true, title: "the call that does not listen",
	watch: "whether the handler ends, and what we learn if it can't",
	mistakes: slices.Concat(
		inChild(child{verdict: handlerEnded, hangs: true},
			runs(hostIsSilent, readReply)),
		inChild(child{verdict: toldWhere}, runs(oneHangs, nameMessage))),
	fix: slices.Concat(
		inChild(child{verdict: handlerEnded},
			runs(hostIsSilent, readReplyOrClose, readReplyByThen)),
		inChild(child{verdict: toldWhere}, runs(oneHangs, namePlace))),
}
