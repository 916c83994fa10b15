package main

import (
	"context"
	"fmt"
	"log/slog"
)

// Mandrill restarts hosts for whoever asks.
type Mandrill struct {
	log     *slog.Logger
	queue   <-chan Message
	restart workFunc
	handled int // messages: read it when Run has returned
}

// Run handles messages, one at a time. It returns nil when the queue is closed
// and empty, or the error of the message that failed. It need not watch ctx
// while it waits for a message, because the publisher closes the queue when ctx
// ends.
func (m *Mandrill) Run(ctx context.Context) error {
	for msg := range m.queue {
		if err := m.handle(ctx, msg); err != nil {
			return fmt.Errorf("%s: %w", msg.ID, err)
		}
		m.handled++
	}
	return nil
}

// handle restarts the host of a message. It blocks until that is done.
func (m *Mandrill) handle(ctx context.Context, msg Message) error {
	m.log.Info("consumed", "id", msg.ID)
	return m.restart(ctx, msg)
}
