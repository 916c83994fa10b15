package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// connect connects to the servers at urls, separated by commas. If there are
// none, it starts a server in this process, which keeps its files in dir. If
// dir is empty, that is a temporary folder, which stop removes. The caller must
// call stop. It blocks until everything is closed.
func connect(
	log *slog.Logger, urls, dir string,
) (nc *nats.Conn, stop func(), err error) {
	closed := make(chan struct{})
	opts := []nats.Option{
		nats.Name("mayhem-mandrill"),
		nats.Timeout(connectTime),
		nats.MaxReconnects(-1), // see receive, which gives up
		nats.ReconnectWait(time.Second / 4),
		// What we can't send now must not be sent later: an ack may wait, but
		// a nack would hit the message's next delivery.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(5 * time.Second), // notice a server that is silent
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("disconnected", "err", oneLine(err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("reconnected", "to", nc.ConnectedAddr())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("connection", "err", oneLine(err))
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
	}
	end := func() {}
	if urls == "" {
		s, shutDown, err := startServer(log, dir)
		if err != nil {
			return nil, nil, err
		}
		end = shutDown
		opts = append(opts, nats.InProcessServer(s))
	} else if urls, err = checkURLs(urls); err != nil {
		return nil, nil, err
	}
	if nc, err = nats.Connect(urls, opts...); err != nil {
		end()
		return nil, nil, connectError{hosts(urls), err}
	}
	return nc, func() {
		nc.Close()
		<-closed
		end()
	}, nil
}

// connectTime is how long a server may take to answer a new connection.
const connectTime = 2 * time.Second

// checkURLs returns the URLs, and adds the scheme where it is missing. It
// returns an error if one of them is not the address of a server. The error
// does not show it, because it may hold a password.
func checkURLs(urls string) (string, error) {
	list := strings.Split(urls, ",")
	for i, s := range list {
		if s = strings.TrimSpace(s); !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, err := url.Parse(s)
		if err == nil && u.Port() != "" {
			_, err = strconv.ParseUint(u.Port(), 10, 16)
		}
		if err != nil || u.Hostname() == "" ||
			!slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return "", usageError(fmt.Sprintf("-nats: number %d is not an "+
				"address of a server; want nats://HOST:PORT", i+1))
		}
		list[i] = s
	}
	return strings.Join(list, ","), nil
}

// hosts returns what may be shown of URLs: no user, password or token.
func hosts(urls string) string {
	var list []string
	for s := range strings.SplitSeq(urls, ",") {
		if u, err := url.Parse(s); err == nil {
			list = append(list, u.Host)
		}
	}
	return strings.Join(list, ",")
}

// A connectError says why we have no connection.
type connectError struct {
	hosts string
	err   error
}

// Error implements error.
func (e connectError) Error() string {
	var timeout net.Error
	why := strings.TrimPrefix(oneLine(e.err), "nats: ")
	switch {
	case errors.Is(e.err, nats.ErrNoServers):
		why = "no server answers"
		if strings.Contains(e.hosts, ",") {
			why += ", or none accepts our user and password"
		}
	case errors.As(e.err, &timeout) && timeout.Timeout():
		why = fmt.Sprintf("no answer within %v", connectTime)
	case e.refused():
		why = "wrong user or password, or none"
	}
	return fmt.Sprintf("-nats %s: %s", e.hosts, why)
}

// refused reports whether the server has rejected our credentials.
func (e connectError) refused() bool {
	return errors.Is(e.err, nats.ErrAuthorization) ||
		errors.Is(e.err, nats.ErrAuthExpired)
}

// ExitStatus returns the status in the README's table. A server that isn't
// there may come back, but wrong credentials stay wrong.
func (e connectError) ExitStatus() int {
	if e.refused() {
		return 2
	}
	return 1
}

// startServer starts a server in this process. It listens on no port: only we
// can connect. The caller must call shutDown, which blocks until all files are
// closed.
func startServer(
	log *slog.Logger, dir string,
) (s *server.Server, shutDown func(), err error) {
	remove := func() {}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "mayhem"); err != nil {
			return nil, nil, err
		}
		remove = func() {
			if err := os.RemoveAll(dir); err != nil {
				log.Warn("not removed", "err", oneLine(err))
			}
		}
	}
	unlock, err := lock(dir)
	if err != nil {
		remove()
		return nil, nil, err
	}
	undo := func() {
		unlock()
		remove()
	}
	s, err = server.NewServer(&server.Options{
		ServerName: "mayhem", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: dir,
	})
	if err != nil {
		undo()
		return nil, nil, dataError{dir, err}
	}
	shutDown = func() {
		s.Shutdown()
		s.WaitForShutdown()
		undo()
	}
	s.SetLoggerV2(serverLog{log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTime) || !s.JetStreamEnabled() {
		shutDown()
		return nil, nil, dataError{dir, errNotStarted}
	}
	return s, shutDown, nil
}

// startTime is how long our own server may take to start: it reads what it
// finds in its folder.
const startTime = 30 * time.Second

// errNotStarted says that our own server is not ready. It has logged why.
var errNotStarted = errors.New("the server did not start")

// A serverLog passes on what the server warns of.
type serverLog struct{ log *slog.Logger }

// Noticef implements server.Logger. It ignores what is no warning.
func (serverLog) Noticef(string, ...any) {}

// Debugf implements server.Logger.
func (serverLog) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (serverLog) Tracef(string, ...any) {}

// Warnf implements server.Logger.
func (l serverLog) Warnf(format string, args ...any) {
	l.log.Warn("server", "says", fmt.Sprintf(format, args...))
}

// Errorf implements server.Logger.
func (l serverLog) Errorf(format string, args ...any) {
	l.log.Error("server", "says", fmt.Sprintf(format, args...))
}

// Fatalf implements server.Logger.
func (l serverLog) Fatalf(format string, args ...any) {
	l.Errorf(format, args...)
}

// lock keeps other processes of ours out of a folder, because two servers in
// one folder would both start, and lose messages. The system unlocks it when
// the process ends, however it ends.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, dataError{dir, err}
	}
	l := flock.New(filepath.Join(dir, "lock"))
	locked, err := l.TryLock()
	if err == nil && !locked {
		err = errLocked
	}
	if err != nil {
		return nil, dataError{dir, err}
	}
	return func() { l.Unlock() }, nil
}

// errLocked says that a folder is in use.
var errLocked = errors.New("another process uses it")

// A dataError says what is wrong with the folder of our own server.
type dataError struct {
	dir string
	err error
}

// Error implements error.
func (e dataError) Error() string {
	why := e.err
	if path, ok := errors.AsType[*fs.PathError](e.err); ok {
		why = path.Err
	}
	return fmt.Sprintf("-data %s: %v", e.dir, why)
}

// ExitStatus returns the status in the README's table. The process that holds
// the lock may end, but a folder that we can't use stays what it is.
func (e dataError) ExitStatus() int {
	if errors.Is(e.err, errLocked) {
		return 1
	}
	return 2
}
