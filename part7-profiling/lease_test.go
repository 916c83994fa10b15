package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A deafVerb answers an extension when it wants to, whatever its context does.
type deafVerb struct {
	accepting
	takes time.Duration
	err   error
}

// Extend implements verbs.
func (v deafVerb) Extend(context.Context) error {
	time.Sleep(v.takes)
	return v.err
}

// When release has stopped waiting for an extension, its answer changes nothing
// any more: the delivery is the caller's.
func TestKeeperLeavesAnExtensionBehind(t *testing.T) {
	for name, answer := range map[string]error{
		"confirmed": nil, "lost": errLeaseLost,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				d := newDelivery(newMessage(1, 1))
				d.until = time.Now().Add(2 * time.Second)
				until := d.until
				d.verbs = deafVerb{takes: 5 * time.Second, err: answer}
				m := &Mandrill{}
				log := logTo(m)
				_, release := keepLease(t.Context(), m.log, d, 2*time.Second)
				time.Sleep(time.Second) // it has been extending since 800ms
				begun := time.Now()
				release()
				assert.Equal(t, time.Second, time.Since(begun), "to its end")
				assert.False(t, d.held())
				time.Sleep(10 * time.Second)
				assert.Equal(t, until, d.until)
				assert.Zero(t, log.count("lease lost"))
			})
		})
	}
}

// A panic of an extension is in the log, even if release has cancelled it.
func TestKeeperLogsAPanicDuringRelease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDelivery(newMessage(1, 1))
		d.until = time.Now().Add(2 * time.Second)
		d.verbs = panickyVerb{}
		m := &Mandrill{}
		log := logTo(m)
		_, release := keepLease(t.Context(), m.log, d, 2*time.Second)
		time.Sleep(time.Second) // it has been extending since 800ms
		release()
		time.Sleep(time.Second)
		assert.Equal(t, 1, log.count(`msg=panicked id=m1 attempt=1 err=`))
	})
}

// A panickyVerb panics when its extension is cancelled.
type panickyVerb struct{ accepting }

// Extend implements verbs.
func (panickyVerb) Extend(ctx context.Context) error {
	<-ctx.Done()
	panic("on purpose")
}

// The first extension is due two fifths of a lease after the lease began, not
// after the message came.
func TestKeeperCountsFromTheBeginning(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDelivery(newMessage(1, 1))
		d.until = time.Now().Add(500 * time.Millisecond) // of 2s
		leased, release := keepLease(t.Context(), quiet, d, 2*time.Second)
		time.Sleep(time.Minute)
		assert.NoError(t, leased.Err(), "kept")
		release()
		assert.True(t, d.held())
	})
}
