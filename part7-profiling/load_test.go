package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A line each second says what has happened in it, and the last one sums up.
func TestReportLoad(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(time.Minute, 100)
		publishOnly(t, b, 24)
		m := newMandrill(b, func(m *Mandrill) {
			m.slots, m.restart = 4, takes(300*time.Millisecond)
		})
		var out lines
		stop := m.reportLoad(&out)
		startService(t, m)
		time.Sleep(2500 * time.Millisecond)
		stop()
		quantiles := regexp.MustCompile(`(p\d+)=\S+`) // roughly
		rough := quantiles.ReplaceAllString(out.text.String(), "$1")
		assert.Equal(t, "load: handled=12 in_flight=4 rate=12/s p50 p99\n"+
			"load: handled=24 in_flight=0 rate=12/s p50 p99\n"+
			"in all: handled=24 in_flight=0 rate=13/s p50 p99\n", rough)
		assert.Regexp(t, `(?s)p50=[67]\d\dms p99=9\d\dms.*p50=1\.[56]\ds`,
			out.text.String(), "of that second")
	})
}

// The last lines of -load add up.
func TestLoad(t *testing.T) {
	t.Parallel()
	var out lines
	require.NoError(t, run(t.Context(), strings.Fields("-load 200"), &out))
	text := out.text.String()
	assert.Regexp(t, `(?m)^in all: handled=200 in_flight=0 rate=\d+/s `+
		`p50=[1-9]\S* p99=[1-9]\S*$`, text)
	assert.Regexp(t,
		`msg=ended messages=200 acked=200 dead_lettered=0 left=0\n$`, text)
	assert.Zero(t, out.count("level=INFO"), "no line for each message")
}
