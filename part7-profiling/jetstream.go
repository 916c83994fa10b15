package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A jetBroker is a queue in NATS JetStream. Several processes may share it:
// each has a jetBroker of its own. See setup.go for what it keeps where.
type jetBroker struct {
	log      *slog.Logger
	nc       *nats.Conn
	js       jetstream.JetStream
	stream   jetstream.Stream
	consumer jetstream.Consumer
	lease    time.Duration
	closed   atomic.Bool // we publish nothing more

	// Counts of what this process has done. The last log line shows them.
	published, acked, deadLettered atomic.Int64
}

// How long a publisher tries. The stream recognises a message ID for two
// minutes, unless the server is restarted meanwhile and the message is settled.
// So a message that has to be sent again is still stored once.
const (
	publishTry    = 2 * time.Second // for an answer
	publishGiveUp = time.Minute     // for success
	publishFull   = 100 * time.Millisecond
)

// Publish implements queue. It waits while the stream is full. It tries again
// for a minute if there is no room for its bytes, or if the broker is out of
// reach. A try is not cancelled when ctx ends, because then we would not know
// whether the message is stored. If a try gets no answer, we don't know either:
// that is in the log.
func (b *jetBroker) Publish(ctx context.Context, msg Message) error {
	log := b.log.With("id", msg.ID)
	tries, stored := 0, false
	err := insist(ctx, log, "published", func(
		ctx context.Context,
	) (err error) {
		tries++
		stored, err = b.send(ctx, msg)
		return err
	})
	switch {
	case err != nil:
		return err
	case !stored && tries == 1:
		return fmt.Errorf("not published: %s: %w", msg.ID, errUsedID)
	}
	b.published.Add(1)
	log.Info("published")
	return nil
}

// errUsedID says that two requests have one ID. If it comes from the publisher,
// the bucket with the last ID may have been deleted.
var errUsedID = errors.New("another request has had this ID")

// send makes one try to send a message, and waits until the broker has it.
// Because the message has an ID, another try is safe. send reports whether this
// try has stored it.
func (b *jetBroker) send(
	ctx context.Context, msg Message,
) (stored bool, err error) {
	ack, err := b.js.Publish(ctx, requestSubject+msg.ID, encode(msg),
		jetstream.WithMsgID(msg.ID))
	if err != nil {
		return false, causeOf(ctx, err)
	}
	return !ack.Duplicate, nil
}

// insist calls f until it succeeds, until ctx ends, or until it has failed for
// publishGiveUp. The context of f does not end with ctx.
func insist(
	ctx context.Context, log *slog.Logger, what string,
	f func(context.Context) error,
) error {
	begun := time.Now()
	for failures := 1; ctx.Err() == nil; failures++ {
		try, cancel := settling(ctx, publishTry)
		err := f(try)
		cancel()
		pause := pauseAfter(failures)
		switch {
		case err == nil:
			return nil
		case isFull(err):
			begun, failures, pause = time.Now(), 0, publishFull
		case isRefused(err):
			return fmt.Errorf("not %s: %w", what, err)
		case time.Since(begun) > publishGiveUp:
			return fmt.Errorf("not %s for %v: %w", what, publishGiveUp, err)
		default:
			log.Warn("not "+what, "again_in", pause, "err", oneLine(err))
		}
		sleep(ctx, pause)
	}
	return context.Cause(ctx)
}

// isFull reports whether the stream has reached its limit of messages. That is
// backpressure: the consumers will make room.
func isFull(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.ErrorCode == codeStoreFailed &&
		e.Description == "maximum messages exceeded"
}

// isRefused reports whether the server says that we are wrong. A conflict is
// none of that: in a cluster, our last try may still be in progress.
func isRefused(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.Code >= 400 && e.Code < 500 &&
		e.Code != http.StatusConflict && e.Code != http.StatusTooManyRequests
}

// codeStoreFailed is an error code of the server that nats.go has no name for.
const codeStoreFailed jetstream.ErrorCode = 10077

// Close implements queue. It says that this process publishes nothing more.
func (b *jetBroker) Close() { b.closed.Store(true) }

// Receive implements queue. It reports the end when the queue is closed and the
// stream is empty, so it also waits for messages that other processes have. The
// server bounds the wait, and nothing cancels it: a ctx that has ended only
// keeps us from asking.
//
// If it may have several messages, it first asks for those that are there, and
// waits only if there is none. Fetch would wait until it has all of them.
func (b *jetBroker) Receive(
	ctx context.Context, wait time.Duration, most int,
) ([]*Delivery, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if b.closed.Load() {
		if left, err := b.left(ctx); err != nil {
			return nil, err
		} else if left == 0 {
			return nil, errClosed
		}
	}
	if most > 1 {
		asked := time.Now()
		fetched, err := b.consumer.FetchNoWait(most)
		if batch, err := b.answer(fetched, err, asked, 0); len(batch) > 0 ||
			!errors.Is(err, errNothing) {
			return batch, err
		}
	}
	asked := time.Now()
	fetched, err := b.consumer.Fetch(1, jetstream.FetchMaxWait(wait))
	return b.answer(fetched, err, asked, wait)
}

// answer returns the messages of a batch. It blocks until the batch is
// complete, or until the server has waited for that long.
func (b *jetBroker) answer(
	fetched jetstream.MessageBatch, err error, asked time.Time,
	wait time.Duration,
) (batch []*Delivery, _ error) {
	if err != nil {
		return nil, err
	}
	for msg := range fetched.Messages() {
		d, err := b.delivery(msg, asked)
		if err != nil {
			return nil, err
		}
		batch = append(batch, d)
	}
	switch {
	case len(batch) > 0:
		return batch, nil // if there is an error as well, it will come again
	case fetched.Error() != nil:
		return nil, fetched.Error()
	case time.Since(asked) >= wait+clientPatience:
		return nil, errNoAnswer
	}
	return nil, errNothing
}

// clientPatience is how much longer nats.go waits than the server does. It
// returns the same error for "no message" and for no answer at all, so only the
// time that it took tells one from the other.
const clientPatience = time.Second

// maxLetter returns how many bytes of a message fit into a dead letter.
func (b *jetBroker) maxLetter() int {
	const headers = 4096
	return max(0, int(b.nc.MaxPayload())-headers)
}

// left returns how many messages are not settled, whoever has published them.
func (b *jetBroker) left(ctx context.Context) (uint64, error) {
	info, err := b.stream.Info(ctx)
	if err != nil {
		return 0, causeOf(ctx, err)
	}
	return info.State.Msgs, nil
}

// delivery turns a message of JetStream into a Delivery. If the message isn't a
// restart request, the Delivery says why, and its ID is the message's number in
// the stream.
func (b *jetBroker) delivery(
	msg jetstream.Msg, asked time.Time,
) (*Delivery, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	d := &Delivery{Attempt: int(meta.NumDelivered), Asked: asked,
		Published: meta.Timestamp}
	d.Message, d.invalid = decode(msg.Data())
	if d.invalid == nil && msg.Subject() != requestSubject+d.ID {
		d.invalid = fmt.Errorf("%w: %s on the subject %.80s",
			errNotRequest, d.ID, msg.Subject())
	}
	if d.invalid != nil {
		d.Message = Message{ID: fmt.Sprintf("seq/%d", meta.Sequence.Stream)}
	}
	d.verbs = &loan{
		broker: b, id: d.ID, reply: msg.Reply(), data: msg.Data(),
		until: asked.Add(b.lease),
	}
	b.log.Info("delivered", "id", d.ID, "attempt", d.Attempt)
	return d, nil
}

// causeOf returns the cause of ctx for an error that comes from its end.
func causeOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
