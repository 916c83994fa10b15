package main

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
)

// A handler that hangs while it counts or settles a delivery is stuck, too.
// Arguments are left out, because nobody can read them.
func TestStuck(t *testing.T) {
	for name, hang := range map[string]func(*Mandrill, *Delivery){
		"countDelivery": func(m *Mandrill, d *Delivery) {
			m.countDelivery(context.Background(), d)
		},
		"settle": func(m *Mandrill, d *Delivery) {
			m.settle(context.Background(), d, toAck, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				end := make(chan struct{})
				count := func() (int, error) {
					<-end
					return 1, nil
				}
				m := newMandrill(quietBroker(forever, 1), func(m *Mandrill) {
					m.deliveries = countFunc(count)
				})
				d := &Delivery{
					Message: newMessage(1, 1), verbs: hangingVerbs{end: end},
				}
				m.inFlight.begin(d)
				go hang(m, d)
				synctest.Wait()
				got := stuck()
				assert.Contains(t, got, ".(*Mandrill)."+name+"(...)")
				assert.NotContains(t, got, "(0x")
				close(end)
			})
		})
	}
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
