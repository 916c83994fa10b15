// Lesson 3.5: swallowed, then acked.
//
// To save and to restart may each go well or fail: four cases. In one of them
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

var lesson05 = lesson{
	number: 5, core: true, title: "swallowed, then acked",
	mistakes: runs(fourCases, dropTheErrors, logTheErrors, deferTheAck),
	fix:      runs(fourCases, lookAtBoth),
}

// dropTheErrors is the mistake. A group that waits, and its error unread.
func dropTheErrors(
	ctx context.Context, log *slog.Logger, d *Delivery, save, restart workFunc,
) {
	var g errgroup.Group
	g.Go(func() error { return save(ctx, d.Message) })
	g.Go(func() error { return restart(ctx, d.Message) })
	_ = g.Wait()
	d.Ack(ctx)
}

// logTheErrors is the second mistake. It looks as if somebody cared.
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

// deferTheAck is the third mistake. So that no way out forgets the ack, none
// does.
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

// lookAtBoth is the fix. What became of the work decides what becomes of the
// message.
func lookAtBoth(
	ctx context.Context, log *slog.Logger, d *Delivery, save, restart workFunc,
) {
	var saved, restarted error
	var work sync.WaitGroup
	work.Go(func() { saved = save(ctx, d.Message) })
	work.Go(func() { restarted = restart(ctx, d.Message) })
	work.Wait()
	if err := errors.Join(saved, restarted); err != nil {
		d.Nack(ctx, time.Second)
	} else {
		d.Ack(ctx)
	}
}

type handleLogged func(ctx context.Context, log *slog.Logger, d *Delivery,
	save, restart workFunc)

// fourCases handles four messages. Of m2 the save fails, of m3 the restart, and
// of m4 both.
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
