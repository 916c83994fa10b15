//go:build unix

package main

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
)

// jetRound is how many messages one turn of the loop handles.
const jetRound = 5000

// What a message costs on JetStream without any work, with the log off and 64
// slots. Bare is nats.go alone, with the same confirmed ack: fetch asks for as
// many messages as there are free slots, as the service does, and consume has
// the library call us, which holds messages that nobody works on.
//
//	go test -run '^$' -bench JetStream -benchtime 3x ./part7-profiling
func BenchmarkJetStream(b *testing.B) {
	const slots = 64
	settle := func(
		ctx context.Context, msg jetstream.Msg, free *semaphore.Weighted,
	) {
		defer free.Release(1)
		msg.DoubleAck(ctx)
	}
	b.Run("bare/free slots", func(b *testing.B) {
		eachJetMessage(b, func(q *jetBroker) (stop func()) {
			free, m := semaphore.NewWeighted(slots), &Mandrill{slots: slots}
			m.setDefaults()
			for left := jetRound; left > 0; {
				n, err := m.takeSlots(b.Context(), free)
				require.NoError(b, err)
				batch, err := q.consumer.Fetch(min(n, left),
					jetstream.FetchMaxWait(time.Second))
				require.NoError(b, err)
				for msg := range batch.Messages() {
					n, left = n-1, left-1
					go settle(b.Context(), msg, free)
				}
				free.Release(int64(n))
			}
			free.Acquire(b.Context(), slots)
			return func() {}
		})
	})
	b.Run("bare/consume", func(b *testing.B) {
		eachJetMessage(b, func(q *jetBroker) (stop func()) {
			free := semaphore.NewWeighted(slots)
			got := make(chan struct{}, jetRound)
			consuming, err := q.consumer.Consume(func(msg jetstream.Msg) {
				free.Acquire(b.Context(), 1)
				go settle(b.Context(), msg, free)
				got <- struct{}{}
			}, jetstream.PullMaxMessages(2*slots))
			require.NoError(b, err)
			for range jetRound {
				<-got
			}
			free.Acquire(b.Context(), slots)
			return func() {
				consuming.Stop()
				<-consuming.Closed()
			}
		})
	})
	b.Run("service/free slots", func(b *testing.B) {
		eachJetMessage(b, func(q *jetBroker) (stop func()) {
			return benchJetRun(b, q, newJetMandrill(q), slots)
		})
	})
	b.Run("service/one by one", func(b *testing.B) {
		eachJetMessage(b, func(q *jetBroker) (stop func()) {
			m := newJetMandrill(q)
			m.queue = oneByOne{q}
			return benchJetRun(b, q, m, slots)
		})
	})
	b.Run("service/bucket", func(b *testing.B) {
		eachJetMessage(b, func(q *jetBroker) (stop func()) {
			db, err := openBucket(b.Context(), quiet, q.js, 1)
			require.NoError(b, err)
			m := newJetMandrill(q)
			m.save = db.save
			m.restart = (&ledger{db: db}).once("restarted", nothing)
			m.failures = db.counter("failed")
			m.deliveries = db.counter("delivered")
			return benchJetRun(b, q, m, slots)
		})
	})
}

// eachJetMessage has consume settle jetRound messages in each turn of the loop,
// and reports what one of them has cost. The clock stands still while it calls
// what consume has returned.
func eachJetMessage(b *testing.B, consume func(*jetBroker) (stop func())) {
	var cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		q := jetBrokerFor(b, time.Minute, jetRound)
		for i := range jetRound {
			msg := newMessage(1, i+1)
			_, err := q.js.PublishAsync(requestSubject+msg.ID, encode(msg))
			require.NoError(b, err)
		}
		<-q.js.PublishAsyncComplete()
		b.StartTimer()
		before := cpuTime()
		stop := consume(q)
		cpu += cpuTime() - before
		b.StopTimer()
		stop()
		b.StartTimer()
	}
	messages := float64(b.N * jetRound)
	b.ReportMetric(messages/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(cpu.Microseconds())/messages, "cpu-µs/msg")
	b.ReportMetric(0, "ns/op")
}

// benchJetRun runs a service until it has settled jetRound messages. It returns
// a function that stops it.
func benchJetRun(
	b *testing.B, q *jetBroker, m *Mandrill, slots int,
) (stop func()) {
	m.slots = slots
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	for q.acked.Load() < jetRound {
		time.Sleep(time.Millisecond)
	}
	return func() {
		cancel()
		require.NoError(b, <-ended)
	}
}
