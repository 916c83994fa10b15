//go:build unix

package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a message costs that needs no work, with the log off. Part 7 starts from
// here, and has the same rows:
//
//	go test -run '^$' -bench 'Message/service' ./part6-debugging \
//		./part7-profiling
func BenchmarkMessage(b *testing.B) {
	for _, slots := range []int{8, 64, 1024} {
		b.Run(fmt.Sprintf("service/slots=%d", slots), func(b *testing.B) {
			eachMessage(b, func(list []*Delivery) {
				m := &Mandrill{
					log: quiet, queue: &stock{left: list}, lease: time.Minute,
					slots: slots, seed: 1, save: nothing, restart: nothing,
				}
				require.NoError(b, m.Run(b.Context()))
			})
		})
	}
}

// perRound is how many messages one turn of a benchmark's loop handles.
const perRound = 10_000

// A stock is a queue that costs next to nothing: the messages are there, and
// the verbs do nothing.
type stock struct {
	queue
	left []*Delivery
}

// Receive implements queue.
func (s *stock) Receive(
	context.Context, time.Duration,
) (*Delivery, error) {
	if len(s.left) == 0 {
		return nil, errClosed
	}
	d := s.left[0]
	s.left = s.left[1:]
	return d, nil
}

// stocked returns that many deliveries.
func stocked(n int) (list []*Delivery) {
	for i := range n {
		list = append(list, newDelivery(newMessage(1, i+1)))
	}
	return list
}

// eachMessage has handle handle perRound messages in each turn of the loop, and
// reports what one of them has cost.
func eachMessage(b *testing.B, handle func([]*Delivery)) {
	var cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		list := stocked(perRound)
		runtime.GC()
		b.StartTimer()
		before := cpuTime()
		handle(list)
		cpu += cpuTime() - before
	}
	messages := float64(b.N * perRound)
	b.ReportMetric(float64(cpu.Nanoseconds())/messages, "cpu-ns/msg")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/messages, "ns/msg")
	b.ReportMetric(0, "ns/op")
}

// cpuTime returns the CPU time of the process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What a message in flight holds in memory while its save and its restart wait.
func BenchmarkMemory(b *testing.B) {
	const n = 10_000
	b.Run("service/n=10000/log=false", func(b *testing.B) {
		benchMemory(b, n, func(ctx context.Context) (end func()) {
			m, begun := allWait(n, quiet)
			var service sync.WaitGroup
			service.Go(func() { m.Run(ctx) })
			begun.Wait()
			return service.Wait
		})
	})
}

// allWait returns a service whose n messages all wait, in save and in restart,
// until they are cancelled. Each has logged a line before that. begun ends when
// all of them wait.
func allWait(n int, log *slog.Logger) (m *Mandrill, begun *sync.WaitGroup) {
	begun = new(sync.WaitGroup)
	begun.Add(2 * n)
	wait := func(ctx context.Context, msg Message) error {
		log.Info("waiting", "id", msg.ID, "host", msg.Instance)
		begun.Done()
		return sleep(ctx, time.Hour)
	}
	return &Mandrill{
		log: quiet, queue: &stock{left: stocked(n)}, lease: time.Hour,
		slots: n, timeout: time.Hour, drain: time.Millisecond,
		save: wait, restart: wait,
	}, begun
}

// benchMemory reports how much memory n messages hold when begin has returned.
func benchMemory(
	b *testing.B, n int, begin func(context.Context) (end func()),
) {
	heap, stacks := uint64(0), uint64(0)
	for b.Loop() {
		before := liveMemory()
		ctx, stop := context.WithCancelCause(b.Context())
		end := begin(ctx)
		after := liveMemory()
		heap += after.HeapAlloc - before.HeapAlloc
		stacks += after.StackInuse - before.StackInuse
		stop(errStopped)
		end()
	}
	each := float64(b.N * n)
	b.ReportMetric(float64(heap+stacks)/each, "held-B/msg")
	b.ReportMetric(float64(stacks)/each, "stack-B/msg")
}

// liveMemory returns what is in use after a garbage collection.
func liveMemory() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC() // stacks shrink in the first
	runtime.ReadMemStats(&m)
	return m
}
