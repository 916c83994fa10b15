package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strconv"
	"time"
)

// A Message asks for the restart of one host. It is a value and never changes,
// so it may be read from any goroutine. What becomes of it is kept elsewhere.
type Message struct {
	ID       string `json:"id"`       // "m7", unique: see publish
	Instance string `json:"instance"` // the host, "cattle-x7f2"
}

// newMessage returns the nth message of a run, counted from 1.
func newMessage(seed uint64, n int) Message {
	const fourDigits = 36 * 36 * 36 // the least number that has them, base 36
	id := fmt.Sprintf("m%d", n)
	host := fourDigits + random(seed, id, "instance").Int64N(35*fourDigits)
	return Message{ID: id, Instance: "cattle-" + strconv.FormatInt(host, 36)}
}

// A workFunc does one job for a message: it saves it, or restarts its host. It
// blocks until the job is done, and returns nil or an error. When its context
// ends, it should return soon.
type workFunc func(context.Context, Message) error

// random returns a source of numbers that depends only on the seed and on what
// they are for. With one shared source, the numbers that a goroutine gets would
// depend on the order in which the goroutines run.
func random(seed uint64, what ...string) *rand.Rand {
	h := fnv.New64a()
	for _, s := range what {
		io.WriteString(h, s+"\x00")
	}
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// sleep blocks for d and returns nil. If ctx ends first, it returns the cause.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
