package main

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// servePages serves the debug pages of a service until the test ends, and
// returns where.
func servePages(t *testing.T, m *Mandrill) (url string) {
	t.Helper()
	m.setDefaults()
	url, stop, err := serveDebug(quiet, "127.0.0.1:0", m.debugPages())
	require.NoError(t, err)
	t.Cleanup(stop)
	return url
}

// What is there, and what is not.
func TestDebugPages(t *testing.T) {
	url := servePages(t, &Mandrill{})
	for _, tt := range []struct {
		page   string
		status int
		says   string
	}{
		{"/debug/pprof/", 200, "full goroutine stack dump"},
		{"/debug/pprof/goroutine?debug=2", 200, "TestDebugPages"},
		{"/debug/pprof/heap?debug=1", 200, "heap profile"},
		{"/debug/pprof/trace?seconds=0.01", 200, "go 1."},
		{"/debug/metrics", 200, "/sched/latencies:seconds p50="},
		{"/debug/metrics", 200, "/sched/goroutines:goroutines "},
		{"/debug/inflight", 200, "slots=8 goroutines=0 ceiling=32\n"},
		{"/debug/pprof/cmdline", 404, "Unknown profile"}, // see debugPages
		{"/", 404, "404 page not found"},
	} {
		status, text := get(t.Context(), url+tt.page)
		assert.Equal(t, tt.status, status, tt.page)
		assert.Contains(t, text, tt.says, tt.page)
	}
	resp, err := http.Post(url+"/debug/inflight", "", nil)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 405, resp.StatusCode, "the pages are only for reading")
	http.DefaultClient.CloseIdleConnections()
}

// Only requests that are addressed to this machine are answered.
func TestLocalOnly(t *testing.T) {
	pages := (&Mandrill{}).debugPages()
	for host, want := range map[string]int{
		"127.0.0.1:6060":    200,
		"[::1]:6060":        200,
		"localhost":         200,
		"localhost:6060":    200, // kubectl port-forward
		"evil.example":      403,
		"evil.example:6060": 403,
		"localhost.evil":    403,
		"10.0.0.1:6060":     403,
		"":                  403,
	} {
		r := httptest.NewRequest("GET", "/debug/inflight", nil)
		r.Host = host
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, r)
		assert.Equal(t, want, w.Code, host)
	}
}

// The pages answer while a handler is stuck, and during the drain. They say
// what is in flight, for how long, and which attempt it is.
func TestDebugWhileStuckAndDraining(t *testing.T) {
	end, begun := make(chan struct{}), make(chan struct{})
	stopping := make(chan struct{})
	m := newMandrill(quietBroker(time.Hour, 1), func(m *Mandrill) {
		m.drain = time.Hour
		m.save = func(context.Context, Message) error {
			close(begun)
			<-end
			return nil
		}
		m.log = newLog(writer(func(p []byte) (int, error) {
			if bytes.Contains(p, []byte("msg=stopping")) {
				close(stopping)
			}
			return len(p), nil
		}), slog.LevelInfo)
	})
	publishOnly(t, m.queue.(*broker), 1)
	url := servePages(t, m)
	ctx, stop := context.WithCancelCause(t.Context())
	var service sync.WaitGroup
	service.Go(func() { assert.NoError(t, m.Run(ctx)) })
	answers := func(when string) {
		_, text := get(t.Context(), url+"/debug/inflight")
		assert.Regexp(t, `^id="m1" attempt=1 stage="working" for=\S+\n`+
			`slots=1 goroutines=[23] ceiling=4\n$`, text, when) // see below
		_, text = get(t.Context(), url+"/debug/pprof/goroutine?debug=1")
		assert.Contains(t, text, `# labels: {"attempt":"1", "msg":"m1"}`, when)
	}
	<-begun // the restart may not have ended yet: 4 goroutines
	answers("stuck")
	stop(errStopped)
	<-stopping
	answers("draining")
	close(end)
	service.Wait()
	assert.Eventually(t, func() bool { // a goroutine ends after its work
		_, text := get(t.Context(), url+"/debug/inflight")
		return text == "slots=1 goroutines=0 ceiling=4\n"
	}, 30*time.Second, time.Millisecond, "drained")
}

// The program serves the pages where the flag says, and nothing without it.
func TestDebugFlag(t *testing.T) {
	p := start(t, "-debug", "127.0.0.1:0", "-stuck", "1")
	url := pagesOf(t, p)
	p.until(t, "msg=saved")
	_, text := get(t.Context(), url+"/debug/inflight")
	assert.Contains(t, text, `id="m1" attempt=1 stage="working" for=`)
	assert.Contains(t, text, "slots=8 ")
	_, text = get(t.Context(), url+"/debug/pprof/mutex?debug=1")
	assert.Contains(t, text, "sampling period=100\n")

	p = start(t, "-n", "1", "-speed", "100")
	status, lines := p.end()
	assert.Equal(t, 0, status)
	assert.NotContains(t, strings.Join(lines, "\n"), "debug pages")
}

// Only loopback addresses are served.
func TestLoopbackOnly(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:6060":          true,
		"127.9.9.9:0":             true,
		"[::1]:6060":              true,
		"[::ffff:127.0.0.1]:6060": true,
		"0.0.0.0:6060":            false,
		"[::]:6060":               false,
		":6060":                   false,
		"10.0.0.1:6060":           false,
		"localhost:6060":          false, // whatever the resolver says
		"127.0.0.1":               false,
		"":                        false,
	} {
		err := checkLoopback(addr)
		if assert.Equal(t, want, err == nil, addr); err != nil {
			assert.Equal(t, 2, status(err), "exit status")
			assert.ErrorContains(t, err, "want a loopback address and a port")
			_, _, err := serveDebug(quiet, addr, http.NotFoundHandler())
			assert.Error(t, err)
		}
	}
}

// A port that is in use is an error, and the service doesn't start.
func TestDebugPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c := config{debug: l.Addr().String(), traces: t.TempDir()}
	_, err = c.startDebugging(quiet, &Mandrill{})
	assert.ErrorContains(t, err, "-debug: listen tcp "+l.Addr().String())
	assert.Equal(t, 1, status(err), "exit status")
	c.debug = ""
	m := &Mandrill{}
	stop, err := c.startDebugging(quiet, m)
	require.NoError(t, err, "the recorder has been stopped")
	defer stop()
	path, err := m.snapshot()
	require.NoError(t, err)
	assert.FileExists(t, path)
}

// A request in progress does not keep the service from ending.
func TestDebugStopEndsRequests(t *testing.T) {
	asked := make(chan struct{})
	pages := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	url, stop, err := serveDebug(quiet, "127.0.0.1:0", pages)
	require.NoError(t, err)
	var request sync.WaitGroup
	request.Go(func() { get(t.Context(), url) })
	<-asked
	stop()
	request.Wait()
}

// Neither does a handler that ignores its context: after a second its request
// is cut off.
func TestDebugStopCutsOff(t *testing.T) {
	t.Parallel()
	asked, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	pages := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-end
	})
	url, stop, err := serveDebug(quiet, "127.0.0.1:0", pages)
	require.NoError(t, err)
	answered := make(chan string)
	go func() {
		_, text := get(t.Context(), url)
		answered <- text
	}()
	<-asked
	stop()
	select {
	case text := <-answered:
		assert.Contains(t, text, url, "an error, with the address")
	case <-time.After(30 * time.Second):
		require.Fail(t, "the request still waits")
	}
}

// The CPU profile takes as long as it was asked for, or until whoever asked for
// it has gone.
func TestDebugProfile(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()
	r := httptest.NewRequestWithContext(
		gone, "GET", "/debug/pprof/profile", nil)
	r.Host = "localhost"
	w := httptest.NewRecorder()
	(&Mandrill{}).debugPages().ServeHTTP(w, r)
	assert.Equal(t, 200, w.Code, w.Body)
}

// A quantile is the bound of a bucket.
func TestQuantile(t *testing.T) {
	h := &metrics.Float64Histogram{
		Counts:  []uint64{0, 90, 9, 1},
		Buckets: []float64{-1, 0, 1, 2, math.Inf(1)},
	}
	assert.Equal(t, 1.0, quantile(h, 0.5))
	assert.Equal(t, 1.0, quantile(h, 0.9))
	assert.Equal(t, 2.0, quantile(h, 0.99))
	assert.Equal(t, 2.0, quantile(h, 1), "the last bucket has no upper bound")
	h.Counts = make([]uint64, 4)
	assert.Equal(t, 0.0, quantile(h, 0.5), "no samples")
}

// pagesOf returns where the debug pages of a program are.
func pagesOf(t *testing.T, p *process) (url string) {
	t.Helper()
	at := regexp.MustCompile(`at=(http://127\.0\.0\.1:\d+)/debug/pprof/`)
	for p.lines.Scan() {
		if m := at.FindStringSubmatch(p.lines.Text()); m != nil {
			return m[1]
		}
	}
	require.Fail(t, "no debug pages")
	return ""
}
