//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
)

// Benchmarks of what a user of a consumer cares about, each beside the least
// that a program can do. They report CPU time, because wall time says more
// about the machine. None of them asserts a figure. To compare two states of
// the service, run each ten times and ask benchstat:
//
//	go test -run '^$' -bench Message -benchmem -count 10 ./part7-profiling

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
	_ context.Context, _ time.Duration, most int,
) ([]*Delivery, error) {
	n := min(most, len(s.left))
	if n == 0 {
		return nil, errClosed
	}
	batch := s.left[:n:n]
	s.left = s.left[n:]
	return batch, nil
}

// oneByOne is a queue that hands out one message at a time.
type oneByOne struct{ queue }

// Receive implements queue.
func (q oneByOne) Receive(
	ctx context.Context, wait time.Duration, _ int,
) ([]*Delivery, error) {
	return q.queue.Receive(ctx, wait, 1)
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

// bare has a program without a service handle messages: a slot, a goroutine,
// and two more for the work.
func bare(
	ctx context.Context, slots int, list []*Delivery,
	handle func(context.Context, *Delivery),
) {
	free := semaphore.NewWeighted(int64(slots))
	for _, d := range list {
		free.Acquire(ctx, 1)
		go func() {
			defer free.Release(1)
			handle(ctx, d)
		}()
	}
	free.Acquire(ctx, int64(slots))
}

// both does two pieces of work that are done at once, side by side.
func both(ctx context.Context, d *Delivery) {
	var work sync.WaitGroup
	work.Go(func() { nothing(ctx, d.Message) })
	work.Go(func() { nothing(ctx, d.Message) })
	work.Wait()
}

// What a message costs that needs no work: bare, with one feature of the
// service after the other, and in the service. Each step has those above it.
func BenchmarkMessage(b *testing.B) {
	const lease = time.Minute
	bareWith := func(handle func(context.Context, *Delivery)) func(*testing.B) {
		return func(b *testing.B) {
			eachMessage(b, func(list []*Delivery) {
				bare(b.Context(), 64, list, handle)
			})
		}
	}
	timed := func(
		ctx context.Context, d *Delivery, f func(context.Context, *Delivery),
	) {
		ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errTimedOut)
		defer cancel()
		f(ctx, d)
	}
	m := &Mandrill{log: quiet, lease: lease, save: nothing, restart: nothing}
	m.setDefaults()

	b.Run("bare", bareWith(both))
	b.Run("step=context", bareWith(func(ctx context.Context, d *Delivery) {
		timed(ctx, d, both)
	}))
	b.Run("step=lease", bareWith(func(ctx context.Context, d *Delivery) {
		timed(ctx, d, func(ctx context.Context, d *Delivery) {
			ctx, release := keepLease(ctx, quiet, d, lease)
			defer release()
			both(ctx, d)
		})
	}))
	b.Run("step=contained", bareWith(func(ctx context.Context, d *Delivery) {
		m.handle(ctx, d)
	}))
	b.Run("step=settled", bareWith(func(ctx context.Context, d *Delivery) {
		m.inFlight.begin(d)
		m.finish(ctx, d, m.handle)
	}))
	b.Run("step=labels", bareWith(func(ctx context.Context, d *Delivery) {
		m.inFlight.begin(d)
		labelled(ctx, d, func(ctx context.Context) {
			m.finish(ctx, d, m.handle)
		})
	}))
	for _, slots := range []int{8, 64, 1024} {
		b.Run(fmt.Sprintf("service/slots=%d", slots), func(b *testing.B) {
			eachMessage(b, func(list []*Delivery) {
				benchRun(b, &stock{left: list}, quiet, slots)
			})
		})
	}
	b.Run("service/recorder", func(b *testing.B) {
		_, stop, err := startRecorder(b.TempDir(), time.Minute)
		require.NoError(b, err)
		defer stop()
		eachMessage(b, func(list []*Delivery) {
			benchRun(b, &stock{left: list}, quiet, 64)
		})
	})
	b.Run("memory broker/slots=64", func(b *testing.B) { // and a publisher
		eachMessage(b, func(list []*Delivery) {
			q := quietBroker(time.Minute, 128)
			go publish(b.Context(), q, 1, len(list), 0)
			benchRun(b, q, quiet, 64)
		})
	})
	b.Run("service/one by one", func(b *testing.B) {
		eachMessage(b, func(list []*Delivery) {
			benchRun(b, oneByOne{&stock{left: list}}, quiet, 64)
		})
	})
}

// Three ways to start work that takes no time.
func BenchmarkStyles(b *testing.B) {
	ctx, msg := context.Background(), newMessage(1, 1)
	b.Run("inline", func(b *testing.B) {
		for b.Loop() {
			nothing(ctx, msg)
		}
	})
	b.Run("goroutine", func(b *testing.B) {
		var all sync.WaitGroup
		for b.Loop() {
			all.Go(func() { nothing(ctx, msg) })
		}
		all.Wait()
	})
	b.Run("slot and goroutine", func(b *testing.B) {
		free := semaphore.NewWeighted(64)
		for b.Loop() {
			free.Acquire(ctx, 1)
			go func() {
				defer free.Release(1)
				nothing(ctx, msg)
			}()
		}
		free.Acquire(ctx, 64)
	})
}

// benchRun runs the service on a queue to its end.
func benchRun(b *testing.B, q queue, log *slog.Logger, slots int) {
	m := &Mandrill{
		log: log, queue: q, lease: time.Minute, slots: slots, seed: 1,
		save: nothing, restart: nothing,
	}
	require.NoError(b, m.Run(b.Context()))
}

// What five lines at Info cost: formatted and thrown away, in a file, and in a
// file behind the buffer of the service. No line is lost.
func BenchmarkLog(b *testing.B) {
	for _, to := range []string{"nowhere", "file", "buffered file"} {
		b.Run("bare/"+to, func(b *testing.B) {
			benchLog(b, to, 0, func(log *slog.Logger, list []*Delivery) {
				bare(b.Context(), 64, list, func(
					ctx context.Context, d *Delivery,
				) {
					for _, msg := range fiveLines {
						log.Info(msg, "id", d.ID, "attempt", d.Attempt)
					}
					both(ctx, d)
				})
			})
		})
	}
	for _, to := range []string{"nowhere", "file", "buffered file"} {
		b.Run("service/"+to, func(b *testing.B) {
			benchLog(b, to, 1, func(log *slog.Logger, list []*Delivery) {
				says := func(msg string) workFunc {
					return func(_ context.Context, m Message) error {
						log.Info(msg, "id", m.ID, "host", m.Instance)
						return nil
					}
				}
				m := &Mandrill{
					log: log, queue: &stock{left: list}, lease: time.Minute,
					slots: 64, seed: 1,
					save: says("saved"), restart: says("restarted"),
				}
				for _, d := range list { // as the broker's adapter does
					log.Info("published", "id", d.ID)
					log.Info("delivered", "id", d.ID, "attempt", d.Attempt)
				}
				require.NoError(b, m.Run(b.Context()))
			})
		})
	}
}

// fiveLines are what the service logs for each message that succeeds.
var fiveLines = []string{
	"published", "delivered", "saved", "restarted", "settled",
}

// benchLog measures handle with a log, and counts the lines that are lost: of
// the five for each message, and of those that come on top.
func benchLog(
	b *testing.B, to string, more int,
	handle func(*slog.Logger, []*Delivery),
) {
	lost := 0
	eachMessage(b, func(list []*Delivery) {
		lines, stop := &lineCounter{to: io.Discard}, func() {}
		var out io.Writer = lines
		if to != "nowhere" {
			f, err := os.Create(filepath.Join(b.TempDir(), "log"))
			require.NoError(b, err)
			defer f.Close()
			lines.to = f
		}
		if to == "buffered file" {
			l := newLogBuffer(lines, logRoom)
			out, stop = l, func() { l.Close(b.Context()) }
		}
		handle(newLog(out, slog.LevelInfo), list)
		stop()
		lost += 5*len(list) + more - int(lines.n.Load())
	})
	b.ReportMetric(float64(lost)/float64(b.N), "lost/op")
}

// A lineCounter counts the lines that it passes on.
type lineCounter struct {
	to io.Writer
	n  atomic.Int64
}

// Write implements io.Writer.
func (c *lineCounter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' {
			c.n.Add(1)
		}
	}
	return c.to.Write(p)
}

// Stopped with ten thousand deliveries in flight, all of which end when they
// are cancelled, the service gives them back within the grace. It reports how
// many it has abandoned, and the CPU time.
func BenchmarkStop10000(b *testing.B) {
	const n = 10_000
	abandoned := 0
	var cpu time.Duration
	for b.Loop() {
		m, begun := allWait(n, quiet)
		m.drain = time.Millisecond
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
	b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/op")
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

// What a message in flight holds in memory while its save and its restart wait:
// heap and stacks, after a garbage collection. Run each row in a process of its
// own: Go reuses the descriptors of goroutines that have ended (about 0.6 KB
// each), so a later row does not count them.
//
//	go test -run '^$' -bench 'Memory/service/n=10000$/log=false' \
//		-benchtime 1x ./part7-profiling
func BenchmarkMemory(b *testing.B) {
	text := slog.New(slog.NewTextHandler(io.Discard, nil))
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("bare/n=%d", n), func(b *testing.B) {
			benchMemory(b, n, func(ctx context.Context) (end func()) {
				var begun, all sync.WaitGroup
				begun.Add(2 * n)
				for range 2 * n {
					all.Go(func() {
						begun.Done()
						sleep(ctx, time.Hour)
					})
				}
				begun.Wait()
				return all.Wait
			})
		})
		for _, log := range []*slog.Logger{quiet, text} {
			row := fmt.Sprintf("service/n=%d/log=%t", n, log == text)
			b.Run(row, func(b *testing.B) {
				benchMemory(b, n, func(ctx context.Context) (end func()) {
					m, begun := allWait(n, log)
					var service sync.WaitGroup
					service.Go(func() { m.Run(ctx) })
					begun.Wait()
					return service.Wait
				})
			})
		}
	}
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

// How long a message takes that comes at a given time, a thousand a second,
// with a millisecond of work.
func BenchmarkLatency(b *testing.B) {
	work := func(context.Context, Message) error {
		time.Sleep(time.Millisecond)
		return nil
	}
	b.Run("bare", func(b *testing.B) {
		benchLatency(b, func(ctx context.Context, q *feed) {
			free := semaphore.NewWeighted(64)
			for {
				free.Acquire(ctx, 1)
				batch, err := q.Receive(ctx, time.Second, 1)
				if err != nil {
					break
				}
				go func() {
					defer free.Release(1)
					var both sync.WaitGroup
					both.Go(func() { work(ctx, batch[0].Message) })
					both.Go(func() { work(ctx, batch[0].Message) })
					both.Wait()
					batch[0].Ack(ctx)
				}()
			}
			free.Acquire(ctx, 63)
		})
	})
	b.Run("service", func(b *testing.B) {
		benchLatency(b, func(ctx context.Context, q *feed) {
			m := &Mandrill{
				log: quiet, queue: q, lease: time.Minute, slots: 64, seed: 1,
				save: work, restart: work,
			}
			require.NoError(b, m.Run(ctx))
		})
	})
}

// A feed is a queue that gets a message each millisecond.
type feed struct {
	queue
	messages chan *Delivery

	mu   sync.Mutex
	took []time.Duration // from publish to ack
}

// Receive implements queue.
func (f *feed) Receive(
	_ context.Context, _ time.Duration, most int,
) (batch []*Delivery, _ error) {
	d, ok := <-f.messages
	if !ok {
		return nil, errClosed
	}
	batch = append(batch, d)
	for len(batch) < most && len(f.messages) > 0 {
		batch = append(batch, <-f.messages)
	}
	return batch, nil
}

// A fed delivery notes when it is acked.
type fed struct {
	accepting
	of *feed
	at time.Time
}

// Ack implements verbs.
func (d fed) Ack(context.Context) error {
	took := time.Since(d.at)
	d.of.mu.Lock()
	defer d.of.mu.Unlock()
	d.of.took = append(d.of.took, took)
	return nil
}

// benchLatency publishes b.N messages, one a millisecond, and reports how long
// they took.
func benchLatency(b *testing.B, consume func(context.Context, *feed)) {
	f := &feed{messages: make(chan *Delivery, b.N)}
	var consumer sync.WaitGroup
	consumer.Go(func() { consume(b.Context(), f) })
	begin := time.Now()
	for i := range b.N {
		at := begin.Add(time.Duration(i) * time.Millisecond)
		time.Sleep(time.Until(at))
		d := newDelivery(newMessage(1, i+1))
		d.verbs = fed{of: f, at: at}
		f.messages <- d
	}
	close(f.messages)
	consumer.Wait()
	slices.Sort(f.took)
	require.Len(b, f.took, b.N)
	b.ReportMetric(1000*f.took[b.N/2].Seconds(), "p50-ms")
	b.ReportMetric(1000*f.took[b.N*99/100].Seconds(), "p99-ms")
}
