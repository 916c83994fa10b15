// Lesson 4.7: published twice, never delivered.
//
// Two promises of the broker that hold only if we do our part: that a message
// is stored once, and that it is delivered until it is done.

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// publishPlain is the mistake. Publish waits until the broker has stored the
// message, so what could happen twice?
func publishPlain(ctx context.Context, b *jetBroker, msg Message) error {
	_, err := b.js.Publish(ctx, requestSubject+msg.ID, encode(msg))
	return err
}

// publishWithID is the fix. It calls send, as the service's Publish does. The
// message has an ID, by which the broker recognises it.
func publishWithID(ctx context.Context, b *jetBroker, msg Message) error {
	_, err := b.send(ctx, msg)
	return err
}

// limitAtTheServer is the mistake. It has the server count deliveries, and stop
// after two.
func limitAtTheServer(c jetstream.ConsumerConfig) jetstream.ConsumerConfig {
	c.MaxDeliver = 2
	return c
}

// limitInTheService is the fix. The server delivers without end, and the
// service counts, see countDelivery. After two deliveries it makes a dead
// letter.
func limitInTheService(c jetstream.ConsumerConfig) jetstream.ConsumerConfig {
	return c
}

// losesTheAnswer has a publisher send a message. The broker stores it, but its
// answer gets lost, so the publisher sends the message again.
func losesTheAnswer(
	ctx context.Context, s *scene,
	send func(context.Context, *jetBroker, Message) error,
) verdict {
	stored := uint64(0)
	onJetStream(ctx, s, time.Second, 0, func(b *jetBroker) {
		msg := newMessage(s.seed, 1)
		for _, lost := range []bool{true, false} {
			err := send(ctx, b, msg)
			if err == nil && lost {
				err = errAnswerLost
			}
			s.log.Info("sent", "id", msg.ID, "err", err)
		}
		stored, _ = b.left(ctx)
	})
	return verdict{
		text:   fmt.Sprintf("messages 1, stored %d", stored),
		failed: stored != 1,
	}
}

// errAnswerLost is all that the publisher hears.
var errAnswerLost = errors.New("no answer")

// killsItsConsumer has a message that kills every process that receives it. A
// killed process sends nothing, so its lease ends after a second. The service
// gives up a message after two deliveries.
func killsItsConsumer(
	ctx context.Context, s *scene,
	limit func(jetstream.ConsumerConfig) jetstream.ConsumerConfig,
) verdict {
	const lease = time.Second
	var delivered, stored, pending int
	var dead int64
	onJetStream(ctx, s, lease, 0, func(b *jetBroker) {
		b.Publish(ctx, newMessage(s.seed, 2))
		c, err := b.stream.UpdateConsumer(ctx, limit(consumerConfig(lease)))
		if err != nil {
			s.log.Error("no consumer", "err", err)
			return
		}
		b.consumer = c
		db, err := openBucket(ctx, quiet, b.js, 1)
		if err != nil {
			s.log.Error("no bucket", "err", err)
			return
		}
		for range 3 {
			s.log.Info("waiting for a delivery", "at_most", 2*lease)
			d := receiveWithin(ctx, b, 2*lease)
			if d == nil {
				s.log.Info("nothing is delivered")
				break
			}
			delivered++
			s.log.Info("delivered", "id", d.ID, "attempt", d.Attempt)
			m := serviceOn(b, 1, nil) // a process
			m.inFlight.begin(d)
			m.maxDeliveries, m.deliveries = 2, db.counter("delivered")
			m.setDefaults()
			m.restart = func(context.Context, Message) error {
				s.log.Info("it kills the process", "id", d.ID)
				return errKilled
			}
			do, why := m.handle(ctx, d)
			if do == toDeadLetter {
				s.log.Info("dead letter", "id", d.ID, "err", why)
				m.settle(ctx, d, do, why)
			}
		}
		left, _ := b.left(ctx)
		info, err := c.Info(ctx)
		if err == nil {
			pending = int(info.NumPending) + info.NumAckPending
		}
		stored, dead = int(left), b.deadLettered.Load()
	})
	is := "not stored any more"
	if stored > pending {
		is = "stored but never to be delivered"
	}
	return verdict{
		text: fmt.Sprintf("deliveries %d, %s, dead letters %d",
			delivered, is, dead),
		failed: stored > pending,
	}
}

// receiveWithin polls for that long at most. A poll is short, because a lease
// counts from its beginning.
func receiveWithin(
	ctx context.Context, b *jetBroker, within time.Duration,
) *Delivery {
	for end := time.Now().Add(within); time.Now().Before(end); {
		if d, err := b.Receive(ctx, b.lease/5); err == nil {
			return d
		}
	}
	return nil
}

// errKilled stands for a process that was killed.
var errKilled = errors.New("killed")

var lesson07 = lesson{
	number: 7, title: "published twice, never delivered",
	watch: "how often one message is stored, and what becomes of another",
	mistakes: inRealTime(slices.Concat(
		runs(losesTheAnswer, publishPlain),
		runs(killsItsConsumer, limitAtTheServer))),
	fix: inRealTime(slices.Concat(
		runs(losesTheAnswer, publishWithID),
		runs(killsItsConsumer, limitInTheService))),
}
