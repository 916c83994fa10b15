package main

import (
	"errors"
	"fmt"
	"time"
)

// An outcome is what becomes of a message when its handler has ended.
type outcome string

const (
	toAck        outcome = "ack"         // done
	toRetry      outcome = "retry"       // a failure: it counts
	toDeadLetter outcome = "dead letter" // it can't be done
	toGiveBack   outcome = "give back"   // not its fault: no failure
	toLetGo      outcome = "let go"      // its lease is lost
)

// errTooOften is the reason of a dead letter that may never have failed: its
// handlers hung, lost their leases, were stopped, or died with their process.
var errTooOften = errors.New("delivered too often")

// judge decides what becomes of a message, and says why. Work that is done is
// acked even if its lease is lost: that does no harm with our broker, and may
// spare a host its second restart.
func judge(held bool, saved, restarted error) (do outcome, why error) {
	why = errors.Join(saved, restarted)
	switch {
	case why == nil:
		return toAck, nil
	case !held:
		return toLetGo, why
	case isPermanent(why):
		return toDeadLetter, why
	case cutShort(saved) && cutShort(restarted):
		return toGiveBack, why
	}
	return toRetry, why
}

// cutShort reports whether work was done, or was stopped by the drain deadline.
func cutShort(err error) bool {
	return err == nil || errors.Is(err, errDrainDeadline)
}

// backoff returns the pause after that many failures of a message. The pause
// begins with first and doubles each time, up to a minute. Then a random part
// of it is taken off, at most half. It is drawn from the seed and the message,
// so messages that failed together don't come back together.
func backoff(
	seed uint64, msg Message, first time.Duration, failures int,
) time.Duration {
	pause := first
	for range failures - 1 {
		pause = min(2*pause, time.Minute)
	}
	share := random(seed, msg.ID, "backoff", fmt.Sprint(failures)).Float64() / 2
	return (pause - time.Duration(share*float64(pause))).
		Round(time.Millisecond)
}
