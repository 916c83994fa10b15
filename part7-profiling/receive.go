package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"
)

// errAllHang says that there is no slot left for work that doesn't hang.
var errAllHang = errors.New("every slot is held by work that hangs")

// takeSlots blocks until a slot is free, or until ctx ends. Then it takes all
// other free slots as well, and returns how many it has taken. A healthy
// handler needs at most the time-out, a lease to end its work, another lease to
// settle, and a few calls of half a grace each. If no slot is free after that
// time, every handler hangs: takeSlots returns errAllHang, so that a supervisor
// can restart the service.
func (m *Mandrill) takeSlots(
	ctx context.Context, slots *semaphore.Weighted,
) (n int, err error) {
	if err := m.takeSlot(ctx, slots); err != nil {
		return 0, err
	}
	n = 1
	for more := m.slots - 1; more > 0; { // not one by one
		if slots.TryAcquire(int64(more)) {
			n += more
		} else {
			more /= 2
		}
	}
	return n, nil
}

// takeSlot takes the first one.
func (m *Mandrill) takeSlot(
	ctx context.Context, slots *semaphore.Weighted,
) error {
	if slots.TryAcquire(1) {
		return nil
	}
	longest := m.timeout + 2*m.lease + 2*m.grace
	ctx, cancel := context.WithTimeoutCause(ctx, longest, errAllHang)
	defer cancel()
	if slots.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	return nil
}

// receive blocks until there are messages, until the queue is at its end, or
// until ctx ends: then it returns the cause. It returns at most that many
// messages. A queue that fails is asked again after a pause, from 100ms up to
// 5s. When every poll has failed for as long as giveUp says, receive returns
// the last error: a consumer that can't receive should not look healthy.
func (m *Mandrill) receive(
	ctx context.Context, most int,
) ([]*Delivery, error) {
	wait := min(time.Second, m.lease/5)
	failures, since := 0, time.Time{}
	for ctx.Err() == nil {
		asked := time.Now()
		batch, err := m.poll(ctx, wait, most)
		m.ready.Store(err == nil || errors.Is(err, errNothing))
		switch {
		case err == nil:
			return batch, nil
		case errors.Is(err, errClosed):
			return nil, err
		case errors.Is(err, errNothing):
			failures = 0
			sleep(ctx, time.Until(asked.Add(wait))) // if it came early
			continue
		}
		logPanic(m.log, err)
		m.numbers.notAsked.Add(1)
		if failures++; failures == 1 {
			since = asked
		}
		left := time.Until(since.Add(m.giveUp))
		if left <= 0 {
			return nil, fmt.Errorf("receive failed for %v: %w", m.giveUp, err)
		}
		pause := min(pauseAfter(failures), left)
		m.log.Warn("receive failed", "failures", failures,
			"again_in", pause.Round(time.Millisecond), "err", oneLine(err))
		sleep(ctx, pause)
	}
	return nil, context.Cause(ctx)
}

// poll asks the queue for messages, once. The broker bounds the wait. The poll
// is not cancelled when ctx ends, because what the broker has handed out by
// then would be lost to every consumer until its lease ends. Its time-out is
// for a broker that does not answer. Messages whose lease is over by our clock
// when they arrive are no answer either.
func (m *Mandrill) poll(
	ctx context.Context, wait time.Duration, most int,
) (batch []*Delivery, err error) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx),
		wait+min(m.lease, answerTime), errNoAnswer)
	defer cancel()
	err = contain(func() (err error) {
		asked := time.Now()
		if batch, err = m.queue.Receive(ctx, wait, most); err != nil {
			return err
		}
		for _, d := range batch {
			d.Asked, d.until = asked, asked.Add(m.lease)
		}
		if !batch[0].held() {
			return fmt.Errorf("%s: %w", batch[0].ID, errNoAnswer)
		}
		return nil
	})
	return batch, err
}

// answerTime is how long the broker may take to answer a poll, on top of the
// wait. A shorter lease bounds it further.
const answerTime = 5 * time.Second

// pauseAfter returns the pause after so many failures of a broker in a row.
func pauseAfter(failures int) time.Duration {
	return min(100*time.Millisecond<<min(failures-1, 6), 5*time.Second)
}
