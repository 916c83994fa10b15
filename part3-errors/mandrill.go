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

	// An attempt at save or restart may take so long, and a message may fail so
	// often before it is a dead letter. Zero means ten seconds, and five times.
	// The seed spreads the pauses between two attempts.
	timeout  time.Duration
	attempts int
	seed     uint64

	mu sync.Mutex // never held over a wait
	// A delivery is in flight while its handler runs (true), and also after
	// that if the broker did not hear what became of it (false).
	inFlight map[*Delivery]bool
	failures map[string]int // of messages that are not settled yet
}

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
// more, and returns why. The handlers work in a context of their own. It asks
// again and again, so that it knows when the broker can have begun to count a
// lease: not before it was asked.
func (m *Mandrill) pull(
	ctx, work context.Context, slots chan struct{},
) error {
	for {
		select {
		case slots <- struct{}{}: // before the message: its lease runs then
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		from := time.Now()
		d, err := m.receive(ctx)
		if err != nil {
			<-slots
			if errors.Is(err, errNothing) {
				continue
			}
			return err
		}
		handle := m.handle
		if ctx.Err() != nil {
			handle = m.giveBack // it was on its way when we were stopped
		}
		m.begin(d)
		go func() { // stop waits for it: it takes all slots
			defer func() { <-slots }()
			defer m.end(d)
			err := contain(func() error {
				handle(work, d, from)
				return nil
			})
			if err != nil { // a mistake of ours: the lease will run out
				m.log.Error("handler panicked", "id", d.ID, "err", err,
					"stack", stackOf(err))
			}
		}()
	}
}

// receive waits for a message for a fifth of a lease. It returns errNothing if
// there was none.
func (m *Mandrill) receive(ctx context.Context) (*Delivery, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.broker.lease/5, errNothing)
	defer cancel()
	return m.broker.Receive(ctx)
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

// handle saves the message and restarts its host, side by side, and then does
// with it what judge says. from is an instant before the lease began.
func (m *Mandrill) handle(
	ctx context.Context, d *Delivery, from time.Time,
) {
	lease, longest := m.broker.lease, cmp.Or(m.timeout, 10*time.Second)
	leased, release := keepLease(ctx, d, from, lease, lease*9)
	saved, restarted := errNoResult, errNoResult
	var work sync.WaitGroup
	work.Go(func() { saved = attempt(leased, d.Message, m.save, longest) })
	work.Go(func() {
		restarted = attempt(leased, d.Message, m.restart, longest)
	})
	work.Wait()
	held := release()

	switch do := judge(held, saved, restarted); do {
	case toAck:
		if m.settle(ctx, d, d.Ack) {
			m.pardon(d)
		}
	case toRetry:
		m.retry(ctx, d, errors.Join(saved, restarted))
	case toDeadLetter:
		m.deadLetter(ctx, d, errors.Join(saved, restarted))
	case toGiveBack:
		m.giveBack(ctx, d, from)
	case toLetGo:
		m.log.Info("lease lost", "id", d.ID, "attempt", d.Attempt)
		m.forget(d)
	}
}

// retry counts a failure and gives the message back, to be handed out after a
// pause, or makes it a dead letter when it has failed often enough.
func (m *Mandrill) retry(ctx context.Context, d *Delivery, why error) {
	m.mu.Lock()
	if m.failures == nil {
		m.failures = make(map[string]int)
	}
	m.failures[d.ID]++
	n := m.failures[d.ID]
	m.mu.Unlock()
	if n >= cmp.Or(m.attempts, 5) {
		m.deadLetter(ctx, d, fmt.Errorf("failed %d times: %w", n, why))
		return
	}
	if stack := stackOf(why); stack != "" {
		m.log.Error("panicked", "id", d.ID, "stack", stack)
	}
	pause := backoff(m.seed, d.Message, n)
	m.log.Info("failed", "id", d.ID, "failures", n, "again_in", pause,
		"err", oneLine(why))
	m.settle(ctx, d, func(ctx context.Context) error {
		return d.Nack(ctx, pause)
	})
}

// deadLetter settles a message that nobody can do.
func (m *Mandrill) deadLetter(ctx context.Context, d *Delivery, why error) {
	settled := m.settle(ctx, d, func(ctx context.Context) error {
		return d.DeadLetter(ctx, oneLine(why))
	})
	if settled {
		m.pardon(d)
	}
}

// pardon drops the count of the failures of a message.
func (m *Mandrill) pardon(d *Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.failures, d.ID)
}

// oneLine returns an error whose text fits a line of the log.
func oneLine(err error) error {
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// giveBack settles a message that others can have at once.
func (m *Mandrill) giveBack(
	ctx context.Context, d *Delivery, _ time.Time,
) {
	m.settle(ctx, d, func(ctx context.Context) error {
		return d.Nack(ctx, 0)
	})
}

// settle tells the broker, in a context that ends neither with the signal nor
// with the drain, only with its own time-out. A message that could not be
// settled stays in flight: its lease will run out, and we say its name.
func (m *Mandrill) settle(
	ctx context.Context, d *Delivery, verb func(context.Context) error,
) (settled bool) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx),
		cmp.Or(m.grace, time.Second)/2, errSettleTimeout)
	defer cancel()
	err := verb(ctx)
	if err == nil || errors.Is(err, errSettled) ||
		errors.Is(err, errLeaseLost) {
		m.forget(d) // settled, by us or somebody else, or theirs to do
	}
	return err == nil
}

// begin notes that a handler has a delivery.
func (m *Mandrill) begin(d *Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inFlight == nil {
		m.inFlight = make(map[*Delivery]bool)
	}
	m.inFlight[d] = true
}

// end notes that it has ended.
func (m *Mandrill) end(d *Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inFlight[d] {
		m.inFlight[d] = false
	}
}

// forget notes that the broker knows what has become of a delivery. What became
// of earlier ones of the message that have ended does not matter then.
func (m *Mandrill) forget(d *Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.inFlight, d)
	for other, running := range m.inFlight {
		if other.ID == d.ID && !running {
			delete(m.inFlight, other)
		}
	}
}

// names returns the messages in flight, in order.
func (m *Mandrill) names() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := range m.inFlight {
		if !slices.Contains(names, d.ID) {
			names = append(names, d.ID)
		}
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

// unreliable returns work of which a part goes wrong: the seed and the message
// decide which. Some hosts don't exist, some are refused twice, and some panic
// twice.
func unreliable(work workFunc, seed uint64) workFunc {
	var mu sync.Mutex
	calls := make(map[string]int)
	return func(ctx context.Context, msg Message) error {
		mu.Lock()
		calls[msg.ID]++
		early := calls[msg.ID] <= 2
		mu.Unlock()
		switch draw := random(seed, msg.ID, "trouble").IntN(8); {
		case draw == 7:
			return permanentError{errNoSuchHost}
		case draw == 6 && early:
			panic("no rack in " + msg.Instance)
		case draw >= 4 && early:
			return errRefused
		}
		return work(ctx, msg)
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
