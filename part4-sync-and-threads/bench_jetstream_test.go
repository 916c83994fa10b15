package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
)

// What a message costs on JetStream without any work, with the log off and
// eight slots. Bare is nats.go alone, with the same confirmed ack: consume has
// the library call us, next polls for one message at a time, as the service
// does. Compare them in one run:
//
//	cd part4-sync-and-threads
//	go test -run '^$' -bench JetStream -benchtime 5000x
func BenchmarkJetStream(b *testing.B) {
	const slots = 8
	b.Run("bare/consume", func(b *testing.B) {
		q, free := benchJetBroker(b), semaphore.NewWeighted(slots)
		done := make(chan struct{}, b.N)
		consuming, err := q.consumer.Consume(func(msg jetstream.Msg) {
			free.Acquire(b.Context(), 1)
			go func() {
				defer free.Release(1)
				msg.DoubleAck(b.Context())
				done <- struct{}{}
			}()
		})
		require.NoError(b, err)
		for range b.N {
			<-done
		}
		consuming.Stop()
		<-consuming.Closed()
	})
	b.Run("bare/next", func(b *testing.B) {
		q, free := benchJetBroker(b), semaphore.NewWeighted(slots)
		for range b.N {
			free.Acquire(b.Context(), 1)
			msg, err := q.consumer.Next(jetstream.FetchMaxWait(time.Second))
			require.NoError(b, err)
			go func() {
				defer free.Release(1)
				msg.DoubleAck(b.Context())
			}()
		}
		free.Acquire(b.Context(), slots)
	})
	b.Run("service/nothing to do", func(b *testing.B) {
		benchJetMandrill(b, func(*Mandrill, *bucket) {})
	})
	b.Run("service/with its bucket", func(b *testing.B) {
		benchJetMandrill(b, func(m *Mandrill, db *bucket) {
			m.save = db.save
			m.restart = (&ledger{db: db}).once("restarted", nothing)
			m.failures = db.counter("failed")
			m.deliveries = db.counter("delivered")
		})
	})
}

// benchJetBroker returns a broker with b.N messages, and starts the clock.
func benchJetBroker(b *testing.B) *jetBroker {
	q := jetBrokerFor(b, time.Minute, b.N)
	for i := range b.N {
		msg := newMessage(1, i+1)
		_, err := q.js.PublishAsync(requestSubject+msg.ID, encode(msg))
		require.NoError(b, err)
	}
	<-q.js.PublishAsyncComplete()
	b.ResetTimer()
	return q
}

// benchJetMandrill measures the service until it has settled b.N messages.
func benchJetMandrill(b *testing.B, set func(*Mandrill, *bucket)) {
	q := benchJetBroker(b)
	db, err := openBucket(b.Context(), quiet, q.js, 1)
	require.NoError(b, err)
	m := newJetMandrill(q)
	m.slots = 8
	set(m, db)
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	for q.acked.Load() < int64(b.N) {
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	stop()
	require.NoError(b, <-ended, fmt.Sprint(b.N))
}
