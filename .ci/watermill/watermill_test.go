//go:build unix

// Package watermill measures what a message costs in Watermill's router, on its
// own in-memory channel, with a handler that does nothing. It is a module of
// its own, so that no reader has to download Watermill. Part 7 compares:
//
//	go test -C .ci/watermill -bench . -count 5
//	go test -run '^$' -bench 'Message/memory' -count 5 ./part7-profiling
package watermill

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

// perRound is how many messages one turn of the loop handles.
const perRound = 10_000

// A message is published, handled and acked.
func BenchmarkRouter(b *testing.B) {
	var cpu time.Duration
	for b.Loop() {
		quiet := watermill.NopLogger{}
		channel := gochannel.NewGoChannel(
			gochannel.Config{OutputChannelBuffer: 128}, quiet)
		router, err := message.NewRouter(message.RouterConfig{}, quiet)
		if err != nil {
			b.Fatal(err)
		}
		var handled sync.WaitGroup
		handled.Add(perRound)
		router.AddConsumerHandler("restart", "requests", channel,
			func(*message.Message) error {
				handled.Done()
				return nil
			})
		go router.Run(context.Background())
		<-router.Running()
		before := cpuTime()
		for i := range perRound {
			msg := message.NewMessage(fmt.Sprintf("m%d", i+1), nil)
			if err := channel.Publish("requests", msg); err != nil {
				b.Fatal(err)
			}
		}
		handled.Wait()
		cpu += cpuTime() - before
		router.Close()
	}
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N*perRound),
		"cpu-ns/msg")
}

// cpuTime returns the CPU time of the process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
