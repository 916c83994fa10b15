package main

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
)

// A handler that hangs while it settles is stuck, too. Arguments are left out,
// because nobody can read them.
func TestStuckSettling(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		end := make(chan struct{})
		m := newMandrill(quietBroker(forever, 1), func(*Mandrill) {})
		d := &Delivery{Message: newMessage(1, 1), verbs: hangingVerbs{end: end}}
		m.inFlight.begin(d)
		go m.settle(t.Context(), d, toAck, nil)
		synctest.Wait()
		got := stuck()
		assert.Contains(t, got, ".(*Mandrill).settle(...)")
		assert.NotContains(t, got, "(0x")
		close(end)
	})
}

// hangingVerbs ignore their contexts until end is closed.
type hangingVerbs struct {
	verbs
	end chan struct{}
}

// Ack implements verbs.
func (v hangingVerbs) Ack(context.Context) error {
	<-v.end
	return nil
}
