package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The service as a whole: all that was published is saved, restarted and acked,
// once each, whatever the seed.
func TestService(t *testing.T) {
	for seed := range uint64(20) {
		inBubble(t, func(t *testing.T) {
			var out bytes.Buffer
			args := []string{"-n", "20", "-seed", fmt.Sprint(seed)}
			assert.NoError(t, run(t.Context(), args, &out))
			for _, what := range []string{
				"published", "delivered", "saved", "restarted", "acked",
			} {
				lines := strings.Count(out.String(), "msg="+what+" ")
				assert.Equal(t, 20, lines, what)
			}
			assert.Equal(t, 20, strings.Count(out.String(),
				"msg=settled"), "settled")
			assert.Positive(t, strings.Count(out.String(),
				"msg=extended"), "extensions")
			assert.Equal(t, 1, strings.Count(out.String(), "msg=ended "+
				"published=20 acked=20 waiting=0 in_flight=0 undelivered=0"))
		})
	}
}

// What can't be written is a failure, but no reason to stop: no message is lost
// over it.
func TestLogFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		full := errors.New("no space left on device")
		acked := 0
		err := run(t.Context(), []string{"-n", "3"}, writer(
			func(p []byte) (int, error) {
				acked += strings.Count(string(p), "msg=acked")
				return 0, full
			}))
		assert.ErrorIs(t, err, full)
		assert.Equal(t, 1, status(err), "exit status")
		assert.Equal(t, 3, acked, "acked")
	})
}
