//go:build unix

package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"
)

// What a message costs without any work, with the log off: CPU time, because
// wall time says more about the machine. Bare is a slot and three goroutines
// for a message from a channel, and nothing else; broker is the teaching broker
// with a loop that acks. Compare them in one run:
//
//	go test -run '^$' -bench Message -benchtime 50000x ./part3-errors
func BenchmarkMessage(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		queue, slots := make(chan Message), semaphore.NewWeighted(64)
		go func() {
			defer close(queue)
			for i := range b.N {
				queue <- newMessage(1, i+1)
			}
		}()
		ctx, acked := b.Context(), atomic.Int64{}
		perMessage(b, func() {
			for msg := range queue {
				slots.Acquire(ctx, 1)
				go func() {
					defer slots.Release(1)
					var work sync.WaitGroup
					work.Go(func() { nothing(ctx, msg) })
					work.Go(func() { nothing(ctx, msg) })
					work.Wait()
					acked.Add(1)
				}()
			}
			slots.Acquire(ctx, 64)
		})
	})
	b.Run("broker", func(b *testing.B) {
		q, ctx := benchBroker(b, 128), b.Context()
		perMessage(b, func() {
			for {
				d, err := q.Receive(ctx, time.Second)
				if err != nil {
					return
				}
				d.Ack(ctx)
			}
		})
	})
	for _, slots := range []int{8, 64, 1024} {
		b.Run(fmt.Sprintf("service/slots=%d", slots),
			func(b *testing.B) {
				m := newMandrill(benchBroker(b, 2*slots), func(m *Mandrill) {
					m.slots = slots
				})
				perMessage(b, func() { m.Run(b.Context()) })
			})
	}
}

// Stopped with ten thousand deliveries in flight, all of which end when they
// are cancelled, the service gives them back within the grace. It reports how
// many it has abandoned, and the CPU time.
func BenchmarkStop10000(b *testing.B) {
	const n = 10_000
	abandoned := 0
	var cpu time.Duration
	for b.Loop() {
		q := quietBroker(time.Minute, n)
		for i := range n {
			q.Publish(b.Context(), newMessage(1, i+1))
		}
		var begun sync.WaitGroup
		begun.Add(n)
		m := newMandrill(q, func(m *Mandrill) {
			m.slots, m.drain = n, time.Millisecond
			m.restart = func(ctx context.Context, msg Message) error {
				begun.Done()
				<-ctx.Done()
				return ctx.Err()
			}
		})
		ctx, stop := context.WithCancelCause(b.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		begun.Wait()
		before := cpuTime()
		stop(errStopped)
		<-ended
		cpu += cpuTime() - before
		abandoned += len(m.inFlight.ids())
	}
	b.ReportMetric(float64(abandoned)/float64(b.N), "abandoned")
	b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/stop")
}

// benchBroker returns a broker to which b.N messages are being published.
func benchBroker(b *testing.B, room int) *broker {
	q := newBroker(slog.New(slog.DiscardHandler), time.Minute, room)
	go publish(b.Context(), q, 1, b.N, 0)
	return q
}

// perMessage reports the CPU time of run for each of b.N messages.
func perMessage(b *testing.B, run func()) {
	before := cpuTime()
	run()
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N),
		"cpu-ns/msg")
}

// cpuTime returns the CPU time of the process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
