package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Mandrill restarts hosts for whoever asks.
type Mandrill struct {
	log     *slog.Logger
	broker  *broker
	save    workFunc
	restart workFunc
	slots   int // messages it works on at a time

	// The stages of a shutdown: how long the work in flight may go on, and how
	// long it then has to heed that it is cancelled, and to give its messages
	// back. Zero means five seconds, and one. A settlement may take half the
	// grace. Run is back so long after it has stopped pulling, whatever
	// happens.
	drain time.Duration
	grace time.Duration

	mu       sync.Mutex           // never held over a wait
	inFlight map[string]*Delivery // the latest of a message
}

var (
	errDrainDeadline = errors.New("drain deadline passed")
	errSettleTimeout = errors.New("settlement took too long")
)

// A forcedError says that the drain deadline had passed and work was cancelled.
// Every message is accounted for.
type forcedError struct{}

func (forcedError) Error() string { return errDrainDeadline.Error() }

// ExitStatus is that of the README's table.
func (forcedError) ExitStatus() int { return 3 }

// An abandonedError names the messages that were in flight when we left, and so
// nobody knows what becomes of them: their handlers did not heed that they were
// cancelled, or the broker did not hear of their settlement.
type abandonedError []string

func (e abandonedError) Error() string {
	return "abandoned " + strings.Join(e, ", ")
}

// Run handles messages until the broker has no more, or until ctx ends. Then it
// stops in stages, and returns nil if all that was in flight has ended by
// itself, a forcedError if some had to be cancelled, or an abandonedError. Only
// in that last case something that it has started still runs.
func (m *Mandrill) Run(ctx context.Context) error {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	slots := make(chan struct{}, m.slots) // a value for each handler at work
	err := m.pull(ctx, work, slots)
	return m.stop(err, cancel, slots)
}

// pull starts a handler for each message until ctx ends or the broker has no
// more, and returns why. The handlers work in a context of their own.
func (m *Mandrill) pull(
	ctx, work context.Context, slots chan struct{},
) error {
	for {
		select {
		case slots <- struct{}{}: // before the message: its lease runs then
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		d, err := m.broker.Receive(ctx)
		if err != nil {
			<-slots
			return err
		}
		handle := m.handle
		if ctx.Err() != nil {
			handle = m.giveBack // it was on its way when we were stopped
		}
		m.track(d, true)
		go func() { // stop waits for it: it takes all slots
			defer func() { <-slots }()
			handle(work, d)
		}()
	}
}

// stop waits for the handlers: as long as the drain lasts, and then, when they
// have been cancelled, as long as the grace does.
func (m *Mandrill) stop(
	why error, cancel context.CancelCauseFunc, slots chan struct{},
) error {
	drain := time.Now().Add(cmp.Or(m.drain, 5*time.Second))
	grace := drain.Add(cmp.Or(m.grace, time.Second))
	idle := 0
	all := func(deadline time.Time) bool {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		for idle < cap(slots) {
			select {
			case slots <- struct{}{}:
				idle++
			case <-timer.C:
				return false
			}
		}
		return true
	}

	m.log.Info("stopped pulling", "cause", why, "in_flight", len(m.names()))
	drained := all(drain)
	if drained {
		m.log.Info("drained")
	} else {
		m.log.Info("cancelling", "in_flight", len(m.names()))
		cancel(errDrainDeadline)
		all(grace)
	}
	if left := m.names(); len(left) > 0 {
		m.log.Info("abandoning", "in_flight", len(left))
		return abandonedError(left)
	}
	if !drained {
		return forcedError{}
	}
	return nil
}

// handle saves the message and restarts its host, side by side, and then
// acknowledges, or gives the message back if it was cancelled before it was
// done. What it does not do yet is look at other errors: that is part 3.
func (m *Mandrill) handle(ctx context.Context, d *Delivery) {
	lease := m.broker.lease
	release := keepLease(ctx, d, lease*2/5, lease*9) // 800ms and 18s of 2s
	var saved, restarted error
	var work sync.WaitGroup
	work.Go(func() { saved = m.save(ctx, d.Message) })
	work.Go(func() { restarted = m.restart(ctx, d.Message) })
	work.Wait()
	release()
	if ctx.Err() != nil && (saved != nil || restarted != nil) {
		m.giveBack(ctx, d)
		return
	}
	m.settle(ctx, d, d.Ack)
}

// giveBack settles a message that others can have at once.
func (m *Mandrill) giveBack(ctx context.Context, d *Delivery) {
	m.settle(ctx, d, func(ctx context.Context) error {
		return d.Nack(ctx, 0)
	})
}

// settle tells the broker, in a context that ends neither with the signal nor
// with the drain, only with its own time-out. A message that could not be
// settled stays in flight: its lease will run out, and we say its name.
func (m *Mandrill) settle(
	ctx context.Context, d *Delivery, verb func(context.Context) error,
) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx),
		cmp.Or(m.grace, time.Second)/2, errSettleTimeout)
	defer cancel()
	err := verb(ctx)
	if err == nil || errors.Is(err, errSettled) ||
		errors.Is(err, errLeaseLost) {
		m.track(d, false) // settled, by us or somebody else, or theirs to do
	}
}

// track notes whether a delivery is in flight.
func (m *Mandrill) track(d *Delivery, inFlight bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inFlight == nil {
		m.inFlight = make(map[string]*Delivery)
	}
	if inFlight {
		m.inFlight[d.ID] = d
	} else if m.inFlight[d.ID] == d {
		delete(m.inFlight, d.ID)
	}
}

// names returns the messages in flight, in order.
func (m *Mandrill) names() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.inFlight {
		names = append(names, id)
	}
	slices.SortFunc(names, func(a, b string) int {
		i, _ := strconv.Atoi(a[1:])
		j, _ := strconv.Atoi(b[1:])
		return cmp.Compare(i, j)
	})
	return names
}

// simulate returns work that takes up to that long: a mock chaos monkey has no
// hosts. The seed and the message decide how long.
func simulate(
	log *slog.Logger, seed uint64, what string, longest time.Duration,
) workFunc {
	return func(ctx context.Context, msg Message) error {
		share := random(seed, msg.ID, what).Float64()
		err := sleep(ctx, time.Duration(share*float64(longest)))
		if err != nil {
			return err
		}
		log.Info(what, "id", msg.ID, "host", msg.Instance)
		return nil
	}
}

// hanging returns work that hangs for every nth message, or for none if n is 0:
// it heeds nothing but the end of the channel.
func hanging(work workFunc, n int, end <-chan struct{}) workFunc {
	return func(ctx context.Context, msg Message) error {
		if i, err := strconv.Atoi(msg.ID[1:]); err == nil && n > 0 && i%n == 0 {
			<-end
			return fmt.Errorf("%s hung", msg.Instance)
		}
		return work(ctx, msg)
	}
}

// publish publishes n messages, or goes on without end if n is 0, with a pause
// of up to that long after each. It closes the broker in the end, for nobody
// else publishes. That ctx ends is no failure: it returns nil then, too.
func publish(
	ctx context.Context, b *broker, seed uint64, n int, pause time.Duration,
) error {
	defer b.Close()
	for i := 1; n == 0 || i <= n; i++ {
		msg := newMessage(seed, i)
		if err := b.Publish(ctx, msg); err != nil {
			return unlessStopped(ctx, err)
		}
		share := random(seed, msg.ID, "pause").Float64()
		err := sleep(ctx, time.Duration(share*float64(pause)))
		if err != nil {
			return unlessStopped(ctx, err)
		}
	}
	return nil
}

// unlessStopped returns nil if err says no more than that ctx has ended. An
// error that others are joined to may say more; it does not unwrap.
func unlessStopped(ctx context.Context, err error) error {
	for e := err; e != nil && ctx.Err() != nil; e = errors.Unwrap(e) {
		if e == ctx.Err() || e == context.Cause(ctx) {
			return nil
		}
	}
	return err
}
