package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

// All that was published is handled, in order, whatever the seed.
func TestService(t *testing.T) {
	for seed := range uint64(20) {
		inBubble(t, func(t *testing.T) {
			var out bytes.Buffer
			ignore := goleak.IgnoreCurrent()
			args := []string{"-n", "20", "-seed", fmt.Sprint(seed)}
			assert.NoError(t, run(t.Context(), args, &out))
			assert.Empty(t, leaked(t, ignore))
			var restarted []string
			for line := range strings.Lines(out.String()) {
				if _, rest, ok := strings.Cut(line, "msg=restarted id="); ok {
					id, _, _ := strings.Cut(rest, " ")
					restarted = append(restarted, id)
				}
			}
			var want []string
			for i := range 20 {
				want = append(want, newMessage(seed, i+1).ID)
			}
			assert.Equal(t, want, restarted)
			assert.Contains(t, out.String(), "msg=ended handled=20")
		})
	}
}

// The service returns why it ended: its context, or a message.
func TestServiceReturnsErrors(t *testing.T) {
	enough := errors.New("enough")
	inBubble(t, func(t *testing.T) {
		ignore := goleak.IgnoreCurrent()
		ctx, cancel := context.WithTimeoutCause(
			t.Context(), time.Minute, enough)
		defer cancel()
		start := time.Now()
		assert.ErrorIs(t, run(ctx, nil, new(bytes.Buffer)), enough)
		assert.Equal(t, time.Minute, time.Since(start))
		assert.Empty(t, leaked(t, ignore))
	})
	queue := make(chan Message, 2)
	queue <- newMessage(1, 1)
	queue <- newMessage(1, 2)
	m := &Mandrill{
		log:   slog.New(slog.DiscardHandler),
		queue: queue,
		restart: func(_ context.Context, msg Message) error {
			if msg.ID == "m2" {
				return errNoSuchHost
			}
			return nil
		},
	}
	err := m.Run(t.Context())
	assert.ErrorIs(t, err, errNoSuchHost)
	assert.EqualError(t, err, "m2: no such host")
	assert.Equal(t, 1, m.handled)
}
