// Lesson 3.1: swallowed, then acked.
//
// Saving may go well or fail, and so may restarting: four cases. In one of them
// the message is done.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// dropTheErrors is the mistake. It waits for both, and drops what Wait returns.
// (Part 1 drops what save and restart return.)
func dropTheErrors(
	ctx context.Context, log *slog.Logger, d *Delivery, save, restart workFunc,
) {
	var g errgroup.Group
	g.Go(func() error { return save(ctx, d.Message) })
	g.Go(func() error { return restart(ctx, d.Message) })
	_ = g.Wait()
	d.Ack(ctx)
}

// logTheErrors is the second mistake. The log promises a retry, and the ack
// prevents it.
func logTheErrors(
	ctx context.Context, log *slog.Logger, d *Delivery, save, restart workFunc,
) {
	var g errgroup.Group
	g.Go(func() error { return save(ctx, d.Message) })
	g.Go(func() error { return restart(ctx, d.Message) })
	if err := g.Wait(); err != nil {
		log.Info("will be tried again", "id", d.ID, "err", err)
	}
	d.Ack(ctx)
}

// deferTheAck is the third mistake. The ack is deferred so that no return
// forgets it. So every return acks.
func deferTheAck(
	ctx context.Context, log *slog.Logger, d *Delivery, save, restart workFunc,
) {
	defer d.Ack(ctx)
	if err := save(ctx, d.Message); err != nil {
		return
	}
	if err := restart(ctx, d.Message); err != nil {
		return
	}
}

// lookAtBoth is the fix. The result of the work decides what becomes of the
// message. judge, which the service uses, looks at it.
func lookAtBoth(
	ctx context.Context, log *slog.Logger, d *Delivery, save, restart workFunc,
) {
	var saved, restarted error
	var work sync.WaitGroup
	work.Go(func() { saved = save(ctx, d.Message) })
	work.Go(func() { restarted = restart(ctx, d.Message) })
	work.Wait()
	if do, _ := judge(d.held(), saved, restarted); do == toAck {
		d.Ack(ctx)
	} else {
		d.Nack(ctx, time.Second)
	}
}

// A handleLogged saves a message, restarts its host and settles it.
type handleLogged func(ctx context.Context, log *slog.Logger, d *Delivery,
	save, restart workFunc)

// errDatabaseGone is what a save fails with.
var errDatabaseGone = errors.New("database gone")

// fourCases handles four messages. Saving m2 fails, restarting the host of m3
// does, and for m4 both do.
func fourCases(ctx context.Context, s *scene, handle handleLogged) verdict {
	b := newBroker(slog.New(slog.DiscardHandler), time.Minute, 4)
	s.broker = b
	publish(ctx, b, s.seed, 4, 0)
	for _, tt := range []struct{ saved, restarted error }{
		{nil, nil},
		{errDatabaseGone, nil},
		{nil, errRefused},
		{errDatabaseGone, errRefused},
	} {
		d, err := b.Receive(ctx, forever)
		if err != nil {
			return verdict{text: err.Error()}
		}
		d.until = d.Asked.Add(b.lease)
		handle(ctx, s.log, d,
			func(context.Context, Message) error { return tt.saved },
			func(context.Context, Message) error {
				time.Sleep(10 * time.Millisecond) // the save is faster
				return tt.restarted
			})
		record := b.events()
		s.log.Info(record[len(record)-1].What, "id", d.ID,
			"saved", tt.saved, "restarted", tt.restarted)
	}
	return verdict{
		text: fmt.Sprintf("1 of 4 is done, %d acked, %d nacked",
			b.count("acked"), b.count("nacked")),
		failed: b.count("acked") != 1,
	}
}

var lesson01 = lesson{
	number: 1, core: true, title: "swallowed, then acked",
	watch:    "which of four messages are acked: only m1 is done",
	mistakes: runs(fourCases, dropTheErrors, logTheErrors, deferTheAck),
	fix:      runs(fourCases, lookAtBoth),
}
