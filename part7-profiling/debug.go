package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"runtime/metrics"
	"strings"
	"sync"
	"time"
)

// debugPages returns the pages for whoever debugs the service. They are on a
// mux of their own, not on http.DefaultServeMux, where the import of
// net/http/pprof has put its pages for everyone. The page with our command line
// is missing, because that may hold a password.
//
// m.slots must be set, because the page with the deliveries shows the ceiling.
func (m *Mandrill) debugPages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // by name
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/metrics", showMetrics)
	mux.HandleFunc("GET /debug/vars", m.showNumbers)
	mux.HandleFunc("GET /debug/ready", m.showReady)
	mux.HandleFunc("GET /debug/inflight", showInFlight(&m.inFlight, m.slots))
	return localOnly(mux)
}

// localOnly answers only requests that are addressed to this machine. A page
// from elsewhere, in a browser on this machine, could otherwise read ours under
// a name that its owner has pointed here (DNS rebinding).
func localOnly(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := (&url.URL{Host: r.Host}).Hostname()
		if addr, err := netip.ParseAddr(host); host == "localhost" ||
			err == nil && addr.IsLoopback() {
			pages.ServeHTTP(w, r)
			return
		}
		http.Error(w, "not addressed to this machine", http.StatusForbidden)
	})
}

// showInFlight lists the deliveries in flight or in doubt, one a line, those
// first that have been in their stage for the longest time. The last line has
// the number of slots, the number of goroutines that wear the label of a
// message, and the ceiling.
func showInFlight(f *inFlight, slots int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, e := range f.list() {
			fmt.Fprintf(w, "id=%q attempt=%d stage=%q for=%v\n", e.ID,
				e.Attempt, e.stage, time.Since(e.since).Round(time.Millisecond))
		}
		fmt.Fprintf(w, "slots=%d goroutines=%d ceiling=%d\n",
			slots, messageGoroutines(), ceiling(slots))
	}
}

// showMetrics prints the metrics of the runtime, one a line. Of a histogram it
// prints two quantiles and the maximum, since the process began.
func showMetrics(w http.ResponseWriter, _ *http.Request) {
	var samples []metrics.Sample
	for _, d := range metrics.All() {
		if !strings.HasPrefix(d.Name, "/godebug/") {
			samples = append(samples, metrics.Sample{Name: d.Name})
		}
	}
	metrics.Read(samples)
	for _, s := range samples {
		switch s.Value.Kind() {
		case metrics.KindUint64:
			fmt.Fprintln(w, s.Name, s.Value.Uint64())
		case metrics.KindFloat64:
			fmt.Fprintln(w, s.Name, s.Value.Float64())
		case metrics.KindFloat64Histogram:
			h := s.Value.Float64Histogram()
			fmt.Fprintf(w, "%s p50=%.3g p99=%.3g max=%.3g\n", s.Name,
				quantile(h, 0.5), quantile(h, 0.99), quantile(h, 1))
		}
	}
}

// quantile returns the upper bound of the bucket in which that share of the
// samples is reached. If it has none, quantile returns the lower bound, which
// samples may exceed. Without samples it returns 0.
func quantile(h *metrics.Float64Histogram, share float64) float64 {
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	rest := uint64(math.Ceil(share * float64(total)))
	for i, n := range h.Counts {
		if rest > 0 && n >= rest {
			if upper := h.Buckets[i+1]; !math.IsInf(upper, 1) {
				return upper
			}
			return h.Buckets[i]
		}
		rest -= n
	}
	return 0
}

// checkLoopback returns a usageError unless addr is a loopback address with a
// port. Only this machine can reach a loopback address.
func checkLoopback(addr string) error {
	a, err := netip.ParseAddrPort(addr)
	if err == nil && a.Addr().IsLoopback() {
		return nil
	}
	return usageError(fmt.Sprintf("-debug %s: want a loopback address and a "+
		"port, such as 127.0.0.1:6060, because whoever reaches these pages "+
		"can read what the service does, and slow it down", addr))
}

// serveDebug serves the pages at a loopback address, and returns where that is,
// because port 0 means any. The caller must call stop, which ends the requests
// in progress and waits a second at most for their handlers.
func serveDebug(
	log *slog.Logger, addr string, pages http.Handler,
) (at string, stop func(), err error) {
	if err := checkLoopback(addr); err != nil {
		return "", nil, err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return "", nil, fmt.Errorf("-debug: %w", err)
	}
	requests, cancel := context.WithCancel(context.Background())
	server := &http.Server{
		Handler:           pages,
		ReadHeaderTimeout: time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context {
			return requests
		},
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		err := server.Serve(listener)
		if !errors.Is(err, http.ErrServerClosed) {
			log.Warn("debug pages ended", "err", err)
		}
	})
	return "http://" + listener.Addr().String(), func() {
		cancel()
		ctx, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
		serving.Wait()
	}, nil
}
