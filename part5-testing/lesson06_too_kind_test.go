package main

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A kindQueue is the mistake: a fake that says yes to every call, keeps what
// became of each message, and does nothing. Its leases don't end, and its nacks
// don't give a message back.
type kindQueue struct {
	mu   sync.Mutex
	msgs []Message
	told []string // "nack m1"
}

// Publish implements queue.
func (q *kindQueue) Publish(_ context.Context, msg Message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.msgs = append(q.msgs, msg)
	return nil
}

// Close implements queue.
func (q *kindQueue) Close() {}

// Receive implements queue.
func (q *kindQueue) Receive(
	ctx context.Context, wait time.Duration,
) (*Delivery, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.msgs) == 0 {
		return nil, errNothing
	}
	msg := q.msgs[0]
	q.msgs = q.msgs[1:]
	return &Delivery{Message: msg, Attempt: 1, verbs: kindVerbs{q, msg.ID}}, nil
}

// kindVerbs are the verbs of a kindQueue.
type kindVerbs struct {
	of *kindQueue
	id string
}

// tell keeps what the queue is told.
func (v kindVerbs) tell(what string) error {
	v.of.mu.Lock()
	defer v.of.mu.Unlock()
	v.of.told = append(v.of.told, what+" "+v.id)
	return nil
}

// Extend implements verbs.
func (v kindVerbs) Extend(context.Context) error { return nil }

// Ack implements verbs.
func (v kindVerbs) Ack(context.Context) error { return v.tell("ack") }

// Nack implements verbs.
func (v kindVerbs) Nack(context.Context, time.Duration) error {
	return v.tell("nack")
}

// DeadLetter implements verbs.
func (v kindVerbs) DeadLetter(context.Context, error) error {
	return v.tell("dead letter")
}

// An inWorkContext is an adapter that nacks in the context that it was given
// when it was made. That one ends with the signal, as in lesson 2.4.
type inWorkContext struct {
	queue
	ctx context.Context
}

// Receive implements queue.
func (q inWorkContext) Receive(
	ctx context.Context, wait time.Duration,
) (*Delivery, error) {
	d, err := q.queue.Receive(ctx, wait)
	if err == nil {
		d.verbs = inWorkContextVerbs{d.verbs, q.ctx}
	}
	return d, err
}

type inWorkContextVerbs struct {
	verbs
	ctx context.Context
}

// Nack implements verbs.
func (v inWorkContextVerbs) Nack(_ context.Context, delay time.Duration) error {
	return v.verbs.Nack(v.ctx, delay)
}

// errSignal is the cause with which these tests stop the service.
var errSignal = errors.New("signal")

// stoppedInMidWork runs the service for a message that takes ten seconds. The
// signal comes after one second, and the drain takes two. The service may have
// the bug of this lesson. stoppedInMidWork returns what Run returns.
func stoppedInMidWork(t *testing.T, q queue) error {
	t.Helper()
	ctx, stop := context.WithTimeoutCause(t.Context(), time.Second, errSignal)
	defer stop()
	require.NoError(t, q.Publish(ctx, newMessage(1, 1)))
	if hasBug(t, "deadContext") {
		q = inWorkContext{q, ctx}
	}
	m := &Mandrill{
		log: quiet, queue: q, lease: 10 * time.Second, drain: 2 * time.Second,
		save: nothing, restart: takes(10 * time.Second),
	}
	defer time.Sleep(m.lease) // for what Run may abandon
	return m.Run(ctx)
}

// TestMistake06KindQueue checks which calls the kind queue has recorded.
func TestMistake06KindQueue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		q := &kindQueue{}

		err := stoppedInMidWork(t, q)

		assert.Equal(t, []string{"nack m1"}, q.told)
		assert.Equal(t, 3, status(err), "exit status")
	})
}

// TestFix06StrictBroker checks what the teaching broker has done.
func TestFix06StrictBroker(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(10*time.Second, 1)

		err := stoppedInMidWork(t, b)

		assert.Equal(t, "3s: nacked #1", b.story("m1")[1])
		assert.Equal(t, 3, status(err), "exit status")
	})
}

// TestFix06Contract plays the contract with the fake of the other tests, in
// virtual time. The bug replaces it with the kind one.
func TestFix06Contract(t *testing.T) {
	const lease = 1500 * time.Millisecond
	for i, tt := range contract {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				q := queue(quietBroker(lease, 1))
				if hasBug(t, "kindQueue") {
					q = &kindQueue{}
				}
				playContract(t, i, q, lease)
			})
		})
	}
}

func TestLesson06TooKind(t *testing.T) {
	playTests(t, lesson06, []testRun{
		{"mistake: the kind queue takes a dead context", "mistake", 0,
			verdict{"green: TestMistake06KindQueue" +
				", in spite of the bug", true}},
		{"fix: the broker refuses it", "fix", 0,
			verdict{"red: TestFix06StrictBroker, because of the bug", false}},
		{"fix: without the bug the message is given back", "fix", 1,
			verdict{"green: TestFix06StrictBroker", false}},
		{"fix: the kind queue breaks the contract", "fix", 2,
			verdict{"red: TestFix06Contract, because of the bug", false}},
		{"fix: the teaching broker keeps the contract", "fix", 3,
			verdict{"green: TestFix06Contract", false}},
	})
}
