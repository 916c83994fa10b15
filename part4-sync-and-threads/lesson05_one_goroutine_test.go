package main

import (
	"context"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestLesson05OneGoroutine(t *testing.T) {
	t.Parallel()
	type sceneFunc func(context.Context, *scene, consumeFunc) verdict
	tests := []struct {
		name    string
		play    sceneFunc
		consume consumeFunc
		want    string // what the verdict says
		twice   bool   // a host is restarted twice
	}{
		{"mistake: restarts come one after the other",
			fiveAtOnce, consumeInCallback,
			`^5 restarts of 200ms, one after the other, took \d\S*s$`, false},
		{"fix: restarts overlap", fiveAtOnce, consumeInSlots,
			`^5 restarts of 200ms, side by side, took \d\S*s$`, false},
		{"mistake: leases end in the buffer", fourInABuffer, consumeInCallback,
			`^restarts: ~([5-9]|\d\d) of 4 requested`, true},
		{"fix: nothing waits in a buffer", fourInABuffer, consumeInOneSlot,
			`^restarts: 4 of 4 requested$`, false},
		{"mistake: it goes on", publishAfterwards, consumeInCallback,
			`^restarts after the function returned: 1$`, false},
		{"fix: it ends", publishAfterwards, consumeInSlots,
			`^restarts after the function returned: 0$`, false},
		{"fix: it is drained", publishAfterwards, consumeAndDrain,
			`^restarts after the function returned: 0$`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t.Output(), 1)
			v := tt.play(t.Context(), s, tt.consume)
			t.Log(v.text)
			assert.Regexp(t, tt.want, v.text)
			assert.Equal(t, tt.twice, s.restarts > 4, "restarted twice")
		})
	}
}

// What the library has started for a consumer ends with the consumer, or does
// not. These rows don't run in parallel, because goleak sees the whole process.
func TestLesson05Leaks(t *testing.T) {
	for _, tt := range []struct {
		name    string
		consume consumeFunc
		want    []string // functions of the library that still run
	}{
		{"mistake: the consumer still runs", consumeInCallback, []string{
			"(*pullConsumer).Consume.func3",
			"(*pullSubscription).pullMessages"}},
		{"fix: nothing is left", consumeInSlots, nil},
		{"fix: Closed says that nothing is left", consumeAndDrain, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var left []string
			watched := func(
				ctx context.Context, b *jetBroker, restart workFunc,
			) error {
				ignore := goleak.IgnoreCurrent()
				err := tt.consume(ctx, b, restart)
				left = ofTheLibrary(goleak.Find(ignore))
				return err
			}
			ctx, s := t.Context(), newScene(t.Output(), 1)
			onJetStream(ctx, s, time.Second, 1, func(b *jetBroker) {
				restart := s.work("restarted", time.Millisecond)
				consuming(ctx, b, watched, restart,
					func() { untilEmpty(ctx, b) })
			})
			t.Log("left running:", left)
			assert.Equal(t, tt.want, left, "left running")
		})
	}
}

// ofTheLibrary returns the functions of the package jetstream that goleak has
// found. (Goroutines of the server come and go meanwhile.)
func ofTheLibrary(leaks error) []string {
	if leaks == nil {
		return nil
	}
	found := make(map[string]bool)
	for _, m := range regexp.MustCompile(
		`(?m)^github\.com/nats-io/nats\.go/jetstream\.(\S+)\(.*\)$`).
		FindAllStringSubmatch(leaks.Error(), -1) {
		found[m[1]] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// A panic in the callback ends the process: the goroutine is the library's, and
// nothing in it recovers.
func TestLesson05CallbackPanics(t *testing.T) {
	if os.Getenv(selfEnv) == "callback" {
		b := jetBrokerFor(t, time.Minute, room)
		require.NoError(t, publish(t.Context(), b, 1, 1, 0))
		_, err := b.consumer.Consume(func(jetstream.Msg) { panics() })
		require.NoError(t, err)
		time.Sleep(time.Minute) // for real: the panic is to end it
	}
	e := watchSelf(t, "callback", 30*time.Second)
	assert.Equal(t, 2, e.code, "exit status")
	assert.Equal(t, "on purpose", e.why)
}
