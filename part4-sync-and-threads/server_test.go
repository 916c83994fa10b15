package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// serverFor starts a server that listens on a free port of loopback, and ends
// with the test. It has JetStream in a folder of its own, unless set says
// otherwise.
func serverFor(t testing.TB, set func(*server.Options)) *server.Server {
	t.Helper()
	opts := &server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(),
	}
	if set != nil {
		set(opts)
	}
	s, err := server.NewServer(opts)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(startTime))
	return s
}

// jetStreamAt returns JetStream on a server.
func jetStreamAt(t testing.TB, urls string) jetstream.JetStream {
	t.Helper()
	nc, stop, err := connect(quiet, urls, "")
	require.NoError(t, err)
	t.Cleanup(stop)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return js
}

// Whatever is wrong with the broker, the program says it in one line, has the
// right status, and shows no password.
func TestBrokerErrors(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it accepts nothing
	require.NoError(t, err)
	t.Cleanup(func() { silent.Close() })
	secured := serverFor(t, func(o *server.Options) {
		o.Username, o.Password = "mandrill", "hunter2"
	}).Addr().String()
	bare := serverFor(t, func(o *server.Options) { o.JetStream = false }).
		Addr().String()
	other := serverFor(t, nil).Addr().String()
	_, err = jetStreamAt(t, other).CreateStream(t.Context(),
		jetstream.StreamConfig{
			Name: requestStream, Subjects: []string{"restart.>"},
		})
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	inUse := filepath.Join(dir, "in use")
	unlock, err := lock(inUse)
	require.NoError(t, err)
	t.Cleanup(unlock)

	for _, tt := range []struct {
		name       string
		args       []string
		want       string
		wantStatus int
	}{
		{"nobody is there", []string{"-nats", "u:hunter2@127.0.0.1:1"},
			"-nats 127.0.0.1:1: no server answers", 1},
		{"it is silent", []string{"-nats", silent.Addr().String()},
			"-nats " + silent.Addr().String() + ": no answer within 2s", 1},
		{"no user", []string{"-nats", secured},
			"-nats " + secured + ": wrong user or password, or none", 2},
		{"wrong password", []string{"-nats", "mandrill:hunter3@" + secured},
			"-nats " + secured + ": wrong user or password, or none", 2},
		{"no JetStream", []string{"-nats", "nats://" + bare},
			"the server has no JetStream for this user", 1},
		{"no port", []string{"-nats", "nats://u:hunter2@localhost:99999"},
			"-nats: number 1 is not an address of a server; " +
				"want nats://HOST:PORT", 2},
		{"not an address", []string{"-nats", "nats://u:hun/ter2@localhost"},
			"-nats: number 1 is not an address of a server; " +
				"want nats://HOST:PORT", 2},
		{"not NATS", []string{"-nats", "nats://a, http://u:hunter2@b"},
			"-nats: number 2 is not an address of a server; " +
				"want nats://HOST:PORT", 2},
		{"another stream", []string{"-nats", other},
			"stream MAYHEM has another configuration: discard policy is " +
				"DiscardOld, want DiscardNew; retention is Limits, want " +
				"WorkQueue; subjects is [restart.>], want [restart.*]", 2},
		{"the folder is a file", []string{"-data", file},
			"-data " + file + ": not a directory", 2},
		{"the folder is in a file", []string{"-data", file + "/data"},
			"-data " + file + "/data: not a directory", 2},
		{"the folder is in use", []string{"-data", inUse},
			"-data " + inUse + ": another process uses it", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := run(t.Context(), append(tt.args, "-n", "1"), &out)
			assert.EqualError(t, err, tt.want)
			assert.Equal(t, tt.wantStatus, status(err), "exit status")
			assert.Empty(t, out.String())
		})
	}
}

// What we share with other processes must be as we need it. What its owner may
// choose, we accept.
func TestSetup(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	open := func(t *testing.T, js jetstream.JetStream) error {
		_, err := openBroker(ctx, quiet, js.Conn(), time.Minute, room, 1)
		if err == nil {
			_, err = openBucket(ctx, quiet, js, 1)
		}
		return err
	}
	for _, tt := range []struct {
		name  string
		setUp func(js jetstream.JetStream) error
		want  string
	}{
		{"the same", func(js jetstream.JetStream) error {
			return open(t, js)
		}, ""},
		{"limits are the owner's", func(js jetstream.JetStream) error {
			c := requestConfig(room, 1)
			c.MaxMsgs, c.MaxBytes, c.Description = 7, 1<<20, "restarts"
			_, err := js.CreateStream(ctx, c)
			return err
		}, ""},
		{"messages that expire", func(js jetstream.JetStream) error {
			c := requestConfig(room, 1)
			c.MaxAge = time.Hour
			_, err := js.CreateStream(ctx, c)
			return err
		}, "stream MAYHEM has another configuration: max age is 1h0m0s, " +
			"want 0s"},
		{"a duplicate window that is too short", func(
			js jetstream.JetStream,
		) error {
			c := requestConfig(room, 1)
			c.Duplicates = time.Second
			_, err := js.CreateStream(ctx, c)
			return err
		}, "stream MAYHEM has another configuration: duplicate window is " +
			"1s, want 2m0s"},
		{"messages without their data", func(js jetstream.JetStream) error {
			s, err := js.CreateStream(ctx, requestConfig(room, 1))
			if err == nil {
				c := consumerConfig(time.Minute)
				c.HeadersOnly = true
				_, err = s.CreateConsumer(ctx, c)
			}
			return err
		}, "consumer mandrill has another configuration: headers only is " +
			"true, want false"},
		{"a consumer that is paused", func(js jetstream.JetStream) error {
			s, err := js.CreateStream(ctx, requestConfig(room, 1))
			if err == nil {
				c := consumerConfig(time.Minute)
				later := time.Now().Add(time.Hour)
				c.PauseUntil = &later
				_, err = s.CreateConsumer(ctx, c)
			}
			return err
		}, "consumer mandrill has another configuration: paused is true, " +
			"want false"},
		{"the subject is taken", func(js jetstream.JetStream) error {
			_, err := js.CreateStream(ctx, jetstream.StreamConfig{
				Name: "OTHER", Subjects: []string{"restart.m1"}})
			return err
		}, "stream MAYHEM: nats: API error: code=400 err_code=10065 " +
			"description=subjects overlap with an existing stream"},
		{"dead letters in memory", func(js jetstream.JetStream) error {
			c := deadConfig(1)
			c.Storage = jetstream.MemoryStorage
			_, err := js.CreateStream(ctx, c)
			return err
		}, "stream MAYHEM_DEAD has another configuration: storage is " +
			"Memory, want File"},
		{"another lease", func(js jetstream.JetStream) error {
			_, err := openBroker(
				ctx, quiet, js.Conn(), time.Second, room, 1)
			return err
		}, "consumer mandrill has another configuration: ack wait is 1s, " +
			"want 1m0s"},
		{"a bounded number of deliveries", func(js jetstream.JetStream) error {
			s, err := js.CreateStream(ctx, requestConfig(room, 1))
			if err == nil {
				c := consumerConfig(time.Minute)
				c.MaxDeliver = 5
				_, err = s.CreateConsumer(ctx, c)
			}
			return err
		}, "consumer mandrill has another configuration: max deliver is 5, " +
			"want -1"},
		{"another consumer", func(js jetstream.JetStream) error {
			s, err := js.CreateStream(ctx, requestConfig(room, 1))
			if err == nil {
				c := consumerConfig(time.Minute)
				c.Durable = "baboon"
				_, err = s.CreateConsumer(ctx, c)
			}
			return err
		}, "consumer mandrill: nats: API error: code=400 err_code=10099 " +
			"description=multiple non-filtered consumers not allowed on " +
			"workqueue stream"},
		{"a bucket that forgets", func(js jetstream.JetStream) error {
			c := bucketConfig(1)
			c.TTL = time.Minute
			_, err := js.CreateKeyValue(ctx, c)
			return err
		}, "bucket mayhem has another configuration: time to live is " +
			"1m0s, want 720h0m0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			js := jetStreamAt(t, serverFor(t, nil).ClientURL())
			require.NoError(t, tt.setUp(js))
			err := open(t, js)
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, tt.want)
			assert.Equal(t, 2, status(err), "exit status")
		})
	}
}

// The consumer has no limits of its own: slots and the service's counts bound
// what is taken, and how often.
func TestConsumerHasNoLimits(t *testing.T) {
	t.Parallel()
	c := jetBrokerFor(t, time.Minute, room).consumer.CachedInfo().Config
	assert.Equal(t, -1, c.MaxAckPending, "messages in progress")
	assert.Equal(t, -1, c.MaxDeliver, "deliveries")
}

// Our own server listens on no port and leaves no goroutine, and no folder
// except that of -data. Its warnings are in our log.
func TestOwnServer(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	temp, data := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	for _, dir := range []string{"", data} {
		nc, stop, err := connect(quiet, "", dir)
		require.NoError(t, err)
		assert.Equal(t, "pipe", nc.ConnectedAddr(), "address")
		if dir == "" {
			left, _ := os.ReadDir(temp)
			assert.Len(t, left, 1, "temporary folders")
		}
		if dir == data {
			_, _, err = connect(quiet, "", data)
			assert.EqualError(t, err, "-data "+data+": another process uses it")
		}
		stop()
		assert.NoError(t, goleak.Find(ignore))
		left, _ := os.ReadDir(temp)
		assert.Empty(t, left, "temporary folders")
	}
	assert.DirExists(t, filepath.Join(data, "jetstream"))

	var log lines
	l := serverLog{slog.New(slog.NewTextHandler(&log, nil))}
	l.Warnf("%d streams", 7)
	l.Errorf("%s", "out of space")
	l.Noticef("hello")
	assert.Equal(t, 1, log.count(`level=WARN msg=server says="7 streams"`))
	assert.Equal(t, 1, log.count(`level=ERROR msg=server says="out of space"`))
	assert.Equal(t, 2, log.count("\n"), "lines")
}

// A signalLog is a log that tells when it has grown.
type signalLog struct {
	lines
	grown chan struct{} // holds a value if it has
}

// newSignalLog returns an empty log.
func newSignalLog() *signalLog {
	return &signalLog{grown: make(chan struct{}, 1)}
}

// Write implements io.Writer.
func (l *signalLog) Write(p []byte) (int, error) {
	defer func() {
		select {
		case l.grown <- struct{}{}:
		default:
		}
	}()
	return l.lines.Write(p)
}

// until blocks until something is in the log n times, or until ctx ends.
func (l *signalLog) until(ctx context.Context, what string, n int) {
	for l.count(what) < n && ctx.Err() == nil {
		select {
		case <-l.grown:
		case <-ctx.Done():
		}
	}
}

// A service that is stopped while it starts says so. That is no failure.
func TestStoppedBeforeReady(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errStopped)
	var log lines
	assert.NoError(t, run(ctx, []string{"-data", t.TempDir()}, &log))
	assert.Equal(t, 1, log.count(`msg="stopped before it was ready" `+
		`cause="terminated signal received"`))
	assert.Zero(t, log.count("msg=ready"))
}

// A wire is a way to a server that a test can cut, or make silent.
type wire struct {
	net.Listener
	to string

	mu     sync.Mutex
	conns  []net.Conn
	state  string        // "", "cut" or "silent"
	change chan struct{} // closed when the state changes
}

// wireFor returns a wire to a server, until the end of the test.
func wireFor(t testing.TB, s *server.Server) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{Listener: l, to: s.Addr().String(),
		change: make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", w.to)
			if err != nil {
				client.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, client, far)
			if w.state == "cut" {
				client.Close()
				far.Close()
			}
			w.mu.Unlock()
			all.Go(func() { w.pass(client, far) })
			all.Go(func() { w.pass(far, client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.set("cut")
		all.Wait()
	})
	return w
}

// set changes the state.
func (w *wire) set(state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = state
	close(w.change)
	w.change = make(chan struct{})
	if state == "cut" {
		for _, c := range w.conns {
			c.Close()
		}
		w.conns = nil
	}
}

// pass passes on what one side says to the other. While the wire is silent, it
// drops it.
func (w *wire) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		w.mu.Lock()
		silent := w.state == "silent"
		w.mu.Unlock()
		if err != nil {
			return
		}
		if silent {
			io.Copy(io.Discard, from) // for good: a gap can't be closed
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// url returns where the wire begins.
func (w *wire) url() string { return "nats://" + w.Addr().String() }

// A service that loses its broker says so, and continues when the broker is
// back. If the broker stays away, the service ends with an error.
func TestBrokerGoesAway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, how  string
		back       bool
		wantStatus int
		want       string
	}{
		{"cut off, and back", "cut", true, 0, ""},
		{"silent, and back", "silent", true, 0, ""},
		{"cut off", "cut", false, 1, "receive failed for 2s: "},
		{"silent", "silent", false, 1, "no answer in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serverFor(t, nil)
			w := wireFor(t, s)
			log := newSignalLog()
			args := []string{"-nats", w.url(), "-n", "20", "-speed", "10"}
			if !tt.back {
				args = append(args, "-give-up", "2s", "-drain", "1s")
			}
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			ended := make(chan error, 1)
			go func() { ended <- run(ctx, args, log) }()
			log.until(ctx, "msg=settled", 3)
			w.set(tt.how)
			if tt.back {
				log.until(ctx, `msg="receive failed"`, 1)
				if tt.how == "silent" {
					w.set("cut")
				}
				w.set("")
			}
			err := <-ended
			assert.Equal(t, tt.wantStatus, status(err), err)
			if tt.want != "" {
				assert.ErrorContains(t, err, tt.want)
				return
			}
			assert.Equal(t, 1, log.count("msg=ended messages=20"))
			js := jetStreamAt(t, s.ClientURL())
			assert.Len(t, savedKeys(t, js), 20, "saved")
		})
	}
}

// What can't be sent is not sent later: a nack would hit the message's next
// delivery. Nothing was sent, so it may be tried again.
func TestNotSentLater(t *testing.T) {
	t.Parallel()
	w := wireFor(t, serverFor(t, nil))
	log := newSignalLog()
	logger := slog.New(slog.NewTextHandler(log, nil))
	nc, stop, err := connect(logger, w.url(), "")
	for tries := 1; err != nil && tries < 10; tries++ { // a busy machine
		nc, stop, err = connect(logger, w.url(), "")
	}
	require.NoError(t, err)
	t.Cleanup(stop)
	b, err := openBroker(t.Context(), quiet, nc, time.Minute, room, 1)
	require.NoError(t, err)
	require.NoError(t, b.Publish(t.Context(), newMessage(1, 1)))
	d, err := b.Receive(t.Context(), time.Minute)
	require.NoError(t, err)
	w.set("cut")
	log.until(t.Context(), "msg=disconnected", 1)
	assert.ErrorIs(t, d.Nack(t.Context(), 0), nats.ErrReconnectBufExceeded)
	w.set("")
	log.until(t.Context(), "msg=reconnected", 1)
	_, err = b.Receive(t.Context(), time.Second/2)
	assert.Equal(t, errNothing, err, "no nack was sent")
	assert.NoError(t, d.Nack(t.Context(), 0))
}

// savedKeys returns how often each request was saved.
func savedKeys(t testing.TB, js jetstream.JetStream) map[string]int {
	t.Helper()
	s, err := js.Stream(t.Context(), "KV_"+bucketName)
	require.NoError(t, err)
	info, err := s.Info(t.Context(),
		jetstream.WithSubjectFilter("$KV."+bucketName+".saved.*"))
	require.NoError(t, err)
	saved := make(map[string]int)
	for subject, n := range info.State.Subjects {
		id := strings.TrimPrefix(subject, "$KV."+bucketName+".saved.")
		saved[id] = int(n)
	}
	return saved
}
