package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// simulate returns work that only takes time, because a mock chaos monkey has
// no hosts. It takes longest at most, depending on the seed and the message.
func simulate(
	log *slog.Logger, seed uint64, what string, longest time.Duration,
) workFunc {
	return func(ctx context.Context, msg Message) error {
		share := random(seed, msg.ID, what).Float64()
		takes := time.Duration(share * float64(longest))
		if err := sleep(ctx, takes); err != nil {
			return err
		}
		log.Info(what, "id", msg.ID, "host", msg.Instance,
			"took", takes.Round(time.Millisecond))
		return nil
	}
}

// hanging returns work that hangs for every nth message, or for none if n is 0.
// It ignores its context and returns only when end is closed; a nil end never
// is.
func hanging(work workFunc, n int, end <-chan struct{}) workFunc {
	return func(ctx context.Context, msg Message) error {
		i, err := strconv.Atoi(strings.TrimPrefix(msg.ID, "m"))
		if err == nil && n > 0 && i%n == 0 {
			<-end
			return fmt.Errorf("%s hung", msg.Instance)
		}
		return work(ctx, msg)
	}
}

// errUnreachable is what a consumer's calls to the broker return during an
// outage. Publishing goes on.
var errUnreachable = errors.New("broker out of reach")

// outage returns a fail function for a broker that can't be reached for d, or
// for ever if d is negative. The outage begins in a second.
func outage(d time.Duration) func(verb, id string) (did bool, err error) {
	begin := time.Now().Add(time.Second)
	return func(string, string) (bool, error) {
		if since := time.Since(begin); since >= 0 && (d < 0 || since < d) {
			return false, errUnreachable
		}
		return false, nil
	}
}

// What may be wrong with a host.
var (
	errNoSuchHost = errors.New("no such host")
	errRefused    = errors.New("restart refused")
)

// unreliable returns work of which a part goes wrong: the seed and the message
// decide which. Some hosts don't exist, some refuse twice, and some make the
// work panic twice.
func unreliable(work workFunc, seed uint64) workFunc {
	var mu sync.Mutex
	calls := make(map[string]int)
	return func(ctx context.Context, msg Message) error {
		mu.Lock()
		calls[msg.ID]++
		early := calls[msg.ID] <= 2
		mu.Unlock()
		switch draw := random(seed, msg.ID, "trouble").IntN(8); {
		case draw == 7:
			return permanentError{errNoSuchHost}
		case draw == 6 && early:
			panic("no rack in " + msg.Instance)
		case draw >= 4 && early:
			return errRefused
		}
		return work(ctx, msg)
	}
}
