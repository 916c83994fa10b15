package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// deadLetters returns the reason of each dead letter.
func deadLetters(t testing.TB, js jetstream.JetStream) map[string]string {
	t.Helper()
	s, err := js.Stream(t.Context(), deadStream)
	require.NoError(t, err)
	info, err := s.Info(t.Context())
	require.NoError(t, err)
	reasons := make(map[string]string)
	for i := info.State.FirstSeq; i <= info.State.LastSeq; i++ {
		msg, err := s.GetMsg(t.Context(), i)
		if err == nil { // otherwise a later one has replaced it
			reasons[msg.Subject] = msg.Header.Get(reasonHeader)
		}
	}
	return reasons
}

// A message that isn't a restart request becomes a dead letter with the reason.
// It is neither retried nor fatal, and the next message is handled.
func TestNotARequest(t *testing.T) {
	t.Parallel()
	b := jetBrokerFor(t, time.Minute, room)
	bad := []string{"", "{", "[]", `{"id": "m.1", "instance": "a"}`, "\xff",
		`{"id": "m1"}`, `{"id": "m2", "instance": "a"}`}
	for i, data := range bad {
		_, err := b.js.Publish(t.Context(),
			fmt.Sprintf("%sbad-%d", requestSubject, i), []byte(data))
		require.NoError(t, err)
	}
	require.NoError(t, b.Publish(t.Context(), newMessage(1, 1)))
	b.Close()
	var handled []string
	m := &Mandrill{
		log: quiet, queue: b, lease: b.lease, save: nothing,
		restart: func(_ context.Context, msg Message) error {
			handled = append(handled, msg.ID)
			return nil
		},
	}
	log := logTo(m)
	assert.NoError(t, m.Run(t.Context()))
	assert.Equal(t, []string{"m1"}, handled)
	reasons := deadLetters(t, b.js)
	assert.Len(t, reasons, len(bad), "dead letters")
	for i, data := range bad {
		want := "not a restart request: m2 on the subject restart.bad-6"
		if _, err := decode([]byte(data)); err != nil {
			want = err.Error()
		}
		assert.Equal(t, want, reasons[fmt.Sprintf("dead.seq/%d", i+1)])
	}
	assert.Equal(t, len(bad), log.count(`msg="dead letter"`))
	assert.Equal(t, 1, log.count(`msg="dead letter" id=seq/1 attempt=1 `+
		`settled=true err="not a restart request: unexpected end`))
	assert.Zero(t, log.count("msg=failed"), "retries")
}

// A message that is sent again is stored once.
func TestPublishAgain(t *testing.T) {
	t.Parallel()
	b := jetBrokerFor(t, time.Minute, room)
	for i := range 3 {
		stored, err := b.send(t.Context(), newMessage(1, 1))
		require.NoError(t, err)
		assert.Equal(t, i == 0, stored, "stored by this try")
	}
	assert.EqualError(t, b.Publish(t.Context(), newMessage(1, 1)),
		"not published: m1: another request has had this ID")
	left, err := b.left(t.Context())
	assert.NoError(t, err)
	assert.EqualValues(t, 1, left, "stored")
}

// A store that has no room for another byte is backpressure as well: handled
// messages make room.
func TestStoreFull(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		set      func(*server.Options)
		maxBytes int64 // of the stream
		want     string
	}{
		{"the stream", nil, 500, "nats: API error: code=503 " +
			"err_code=10077 description=maximum bytes exceeded"},
		{"the server", func(o *server.Options) {
			o.JetStreamMaxStore = 600
		}, 0, "nats: API error: code=503 err_code=10023 " +
			"description=insufficient resources"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			js := jetStreamAt(t, serverFor(t, tt.set).ClientURL())
			c := requestConfig(room, 1)
			c.MaxBytes = tt.maxBytes
			_, err := js.CreateStream(t.Context(), c)
			require.NoError(t, err)
			b, err := openBroker(
				t.Context(), quiet, js.Conn(), time.Minute, room, 1)
			require.NoError(t, err)
			stored := 0
			for err == nil {
				msg := newMessage(1, stored+1)
				if _, err = b.send(t.Context(), msg); err == nil {
					stored++
				}
			}
			assert.ErrorContains(t, err, tt.want)
			assert.Positive(t, stored)
			ended := make(chan error, 1)
			go func() { ended <- newJetMandrill(b).Run(t.Context()) }()
			for n := stored; n < stored+20; n++ {
				err := b.Publish(t.Context(), newMessage(1, n+1))
				assert.NoError(t, err)
			}
			b.Close()
			assert.NoError(t, <-ended)
			assert.EqualValues(t, stored+20, b.acked.Load(), "acked")
		})
	}
}

// A message as large as the server permits still becomes a dead letter, without
// its end.
func TestLargeDeadLetter(t *testing.T) {
	t.Parallel()
	const most = 64 << 10 // the usual megabyte takes a busy machine seconds
	srv := serverFor(t, func(o *server.Options) { o.MaxPayload = most })
	nc, stop, err := connect(quiet, srv.ClientURL(), "")
	require.NoError(t, err)
	t.Cleanup(stop)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel() // if it can't be settled
	b, err := openBroker(ctx, quiet, nc, time.Minute, room, 1)
	require.NoError(t, err)
	_, err = b.js.Publish(ctx, requestSubject+"large",
		make([]byte, most))
	require.NoError(t, err)
	b.Close()
	assert.NoError(t, newJetMandrill(b).Run(ctx))
	assert.Equal(t, map[string]string{"dead.seq/1": "not a restart request: " +
		"invalid character '\\x00' looking for beginning of value"},
		deadLetters(t, b.js))
	s, err := b.js.Stream(t.Context(), deadStream)
	require.NoError(t, err)
	letter, err := s.GetLastMsgForSubject(t.Context(), "dead.seq/1")
	require.NoError(t, err)
	assert.Equal(t, "65536", letter.Header.Get(cutHeader))
	assert.Len(t, letter.Data, most-4096)
}

// insist tries again until it succeeds. It gives up when it has failed for a
// minute, but not because the stream is full: the consumers will make room.
func TestInsist(t *testing.T) {
	fullOf := func(what string) error {
		return &jetstream.APIError{ErrorCode: 10077, Description: what}
	}
	full := fullOf("maximum messages exceeded")
	noRoom := fullOf("maximum bytes exceeded")
	lost := errors.New("connection lost")
	for _, tt := range []struct {
		name    string
		failure error
		lasts   time.Duration // the failure
		stop    time.Duration // ctx ends
		want    string
		took    time.Duration // at least, and at most five seconds more
	}{
		{"the connection is lost", lost, 50 * time.Second, time.Hour, "",
			50 * time.Second},
		{"for too long", lost, time.Hour, time.Hour,
			"not published for 1m0s: connection lost", time.Minute},
		{"stopped meanwhile", lost, time.Hour, 10 * time.Second,
			"terminated signal received", 10 * time.Second},
		{"full", full, 10 * time.Minute, time.Hour, "", 10 * time.Minute},
		{"refused", &jetstream.APIError{Code: 400, Description: "bad"},
			time.Hour, time.Hour, "not published: nats: API error: code=400 " +
				"err_code=0 description=bad", 0},
		{"the last try is in progress",
			&jetstream.APIError{Code: 409, ErrorCode: 10158},
			5 * time.Second, time.Hour, "", 5 * time.Second},
		{"stopped while it is full", full, time.Hour, 10 * time.Second,
			"terminated signal received", 10 * time.Second},
		{"no room", noRoom, time.Hour, time.Hour,
			"not published for 1m0s: " + noRoom.Error(), time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				begun := time.Now()
				ctx, stop := context.WithTimeoutCause(
					t.Context(), tt.stop, errStopped)
				defer stop()
				err := insist(ctx, quiet, "published", func(
					ctx context.Context,
				) error {
					sleep(ctx, time.Millisecond)
					assert.NoError(t, ctx.Err(), "a try is not cancelled")
					if time.Since(begun) < tt.lasts {
						return tt.failure
					}
					return nil
				})
				if tt.want == "" {
					assert.NoError(t, err)
				} else {
					assert.EqualError(t, err, tt.want)
				}
				took := time.Since(begun)
				assert.GreaterOrEqual(t, took, tt.took)
				assert.LessOrEqual(t, took, tt.took+6*time.Second)
			})
		})
	}
}

// A stream that was full for long has not failed for long.
func TestInsistFullThenLost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		begun := time.Now()
		assert.NoError(t, insist(t.Context(), quiet, "published", func(
			context.Context,
		) error {
			switch since := time.Since(begun); {
			case since < 2*time.Minute:
				return &jetstream.APIError{ErrorCode: codeStoreFailed,
					Description: "maximum messages exceeded"}
			case since < 2*time.Minute+10*time.Second:
				return nats.ErrTimeout
			}
			return nil
		}))
	})
}

// What a young cluster answers may change, so it is asked again, for half a
// minute. A refusal stays one.
func TestUntilReady(t *testing.T) {
	noLeader := &jetstream.APIError{Code: 503, ErrorCode: 10008,
		Description: "JetStream system temporarily unavailable"}
	refused := &jetstream.APIError{Code: 400, ErrorCode: 10065,
		Description: "subjects overlap with an existing stream"}
	for _, tt := range []struct {
		name       string
		failure    error
		lasts      time.Duration
		want       string // error
		wantStatus int
		wantTook   time.Duration // at least
	}{
		{"no leader yet", noLeader, 20 * time.Second, "", 0, 20 * time.Second},
		{"never a leader", noLeader, time.Hour,
			"JetStream is not ready: " + noLeader.Error(), 1, openTime},
		{"no answer", nil, time.Hour,
			"JetStream is not ready: no answer in time", 1, openTime},
		{"refused", refused, time.Hour, refused.Error(), 2, 0},
		{"no JetStream", nats.ErrNoResponders, time.Hour,
			errNoJetStream.Error(), 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				begun := time.Now()
				err := untilReady(t.Context(), quiet, func(
					ctx context.Context,
				) error {
					switch {
					case time.Since(begun) >= tt.lasts:
						return nil
					case tt.failure == nil:
						<-ctx.Done()
						return ctx.Err()
					}
					return tt.failure
				})
				if tt.want == "" {
					assert.NoError(t, err)
				} else {
					assert.EqualError(t, err, tt.want)
				}
				assert.Equal(t, tt.wantStatus, status(err), "exit status")
				took := time.Since(begun)
				assert.GreaterOrEqual(t, took, tt.wantTook)
				assert.LessOrEqual(t, took, tt.wantTook+11*time.Second)
			})
		})
	}
}

// newJetMandrill returns a service on JetStream. Its work is done at once.
func newJetMandrill(b *jetBroker) *Mandrill {
	return &Mandrill{
		log: b.log, queue: b, lease: b.lease, save: nothing, restart: nothing,
		seed: 1,
	}
}

// If the answer to a nack is lost, another process may have the message. A
// second nack would take it away, so there is none.
func TestNackOnce(t *testing.T) {
	t.Parallel()
	b := jetBrokerFor(t, time.Minute, room)
	require.NoError(t, b.Publish(t.Context(), newMessage(1, 1)))
	d, err := b.Receive(t.Context(), time.Minute)
	require.NoError(t, err)
	l := d.verbs.(*loan)
	theServer := l.reply
	l.reply = "deaf" // the server hears, and does not answer
	_, err = b.nc.Subscribe("deaf", func(msg *nats.Msg) {
		b.nc.Publish(theServer, msg.Data)
	})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeoutCause(
		t.Context(), time.Second/10, errNoAnswer)
	defer cancel()
	assert.Equal(t, errNoAnswer, d.Nack(ctx, 0))
	again, err := b.Receive(t.Context(), time.Minute)
	require.NoError(t, err)
	assert.Equal(t, 2, again.Attempt)
	assert.Equal(t, errLeaseLost, d.Nack(t.Context(), 0))
	assert.Equal(t, errLeaseLost, d.Extend(t.Context()))
	_, err = b.Receive(t.Context(), time.Second/2)
	assert.Equal(t, errNothing, err, "the second delivery is not touched")
}

// An extension that is answered after the end of the lease is too late.
func TestExtendTooLate(t *testing.T) {
	t.Parallel()
	const lease = time.Second / 2
	b := jetBrokerFor(t, lease, room)
	require.NoError(t, b.Publish(t.Context(), newMessage(1, 1)))
	d, err := b.Receive(t.Context(), lease)
	require.NoError(t, err)
	d.verbs.(*loan).reply = "slow"
	_, err = b.nc.Subscribe("slow", func(msg *nats.Msg) {
		time.AfterFunc(2*lease, func() { msg.Respond(nil) })
	})
	require.NoError(t, err)
	assert.Equal(t, errLeaseLost, d.Extend(t.Context()))
	assert.Equal(t, errLeaseLost, d.Extend(t.Context()))
}

// The lease counts from the moment before we asked, even if the message came
// much later.
func TestLeaseCountsFromAsking(t *testing.T) {
	t.Parallel()
	const lease = time.Second / 2
	b := jetBrokerFor(t, lease, room)
	time.AfterFunc(lease+time.Millisecond, func() {
		b.send(t.Context(), newMessage(1, 1))
	})
	d, err := b.Receive(t.Context(), time.Minute)
	require.NoError(t, err)
	assert.Equal(t, errLeaseLost, d.Extend(t.Context()))
}

// A message has one dead letter, the last.
func TestDeadLetterOnce(t *testing.T) {
	t.Parallel()
	b := jetBrokerFor(t, time.Minute, room)
	require.NoError(t, b.Publish(t.Context(), newMessage(1, 1)))
	d, err := b.Receive(t.Context(), time.Minute)
	require.NoError(t, err)
	l := d.verbs.(*loan)
	theServer := l.reply
	l.reply = "nobody" // the letter is stored, the ack fails
	assert.ErrorIs(t, d.DeadLetter(t.Context(), errRefused),
		nats.ErrNoResponders)
	l.reply = theServer
	assert.NoError(t, d.DeadLetter(t.Context(), errNoSuchHost))
	assert.Equal(t, map[string]string{"dead.m1": "no such host"},
		deadLetters(t, b.js))
	dead, err := b.js.Stream(t.Context(), deadStream)
	require.NoError(t, err)
	assert.EqualValues(t, 1, dead.CachedInfo().State.Msgs, "dead letters")
	left, err := b.left(t.Context())
	assert.NoError(t, err)
	assert.Zero(t, left, "left")
}

// A second request with an ID that was used restarts no host, and does not
// make the first one look done, which is saved and waits for its next attempt.
func TestUsedID(t *testing.T) {
	t.Parallel()
	b := jetBrokerFor(t, time.Minute, room)
	db, err := openBucket(t.Context(), quiet, b.js, 1)
	require.NoError(t, err)
	id := "x1" // of a host that restarts
	for n := 2; random(1, id, "trouble").IntN(8) >= 4; n++ {
		id = fmt.Sprintf("x%d", n)
	}
	require.NoError(t, db.save(t.Context(), Message{id, "first"}))
	_, err = b.js.Publish(t.Context(), requestSubject+id,
		encode(Message{id, "second"}))
	require.NoError(t, err)
	var log lines
	logger := slog.New(slog.NewTextHandler(&log, nil))
	assert.NoError(t, work(t.Context(), logger,
		config{n: 1, seed: 1, speed: 50}, b, b.lease, db))
	assert.Zero(t, log.count("msg=restarted id="+id+" "))
	done, err := db.isDone(t.Context(), "restarted "+id)
	assert.NoError(t, err)
	assert.False(t, done, "the first one looks done")
	assert.Equal(t, 1, log.count(`msg="dead letter" id=`+id+" "))
	assert.Contains(t, deadLetters(t, b.js)[deadSubject+id], errUsedID.Error())
}

// bucketsFor returns two buckets, as two processes have them, and what is in
// them.
func bucketsFor(t *testing.T) (a, b *bucket, kv jetstream.KeyValue) {
	t.Helper()
	js := jetBrokerFor(t, time.Minute, room).js
	a, err := openBucket(t.Context(), quiet, js, 1)
	require.NoError(t, err)
	b, err = openBucket(t.Context(), quiet, js, 1)
	require.NoError(t, err)
	return a, b, a.kv
}

// Processes that count at the same time get different numbers.
func TestBucketNumbers(t *testing.T) {
	t.Parallel()
	a, b, _ := bucketsFor(t)
	var mu sync.Mutex
	var got []int
	var all sync.WaitGroup
	for i := range 8 {
		db := []*bucket{a, b}[i%2]
		all.Go(func() {
			for range 10 {
				n, err := db.next(t.Context())
				assert.NoError(t, err)
				mu.Lock()
				got = append(got, n)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	assert.Len(t, got, 80, "numbers")
	slices.Sort(got)
	assert.Len(t, slices.Compact(got), 80, "different numbers")
}

// A request is saved once, failures are counted and forgotten, and what is done
// is known: to the other process, too.
func TestBucket(t *testing.T) {
	t.Parallel()
	a, b, kv := bucketsFor(t)
	ctx := t.Context()
	var log lines
	a.log = slog.New(slog.NewTextHandler(&log, nil))
	b.log = a.log
	for _, db := range []*bucket{a, b, a} {
		assert.NoError(t, db.save(ctx, newMessage(1, 1)))
	}
	assert.Equal(t, 1, log.count("msg=saved"), "saved")
	err := b.save(ctx, Message{"m1", "another-host"})
	assert.ErrorIs(t, err, errUsedID)
	assert.True(t, isPermanent(err), "permanent")
	entries, err := kv.History(ctx, "saved.m1")
	require.NoError(t, err)
	assert.Len(t, entries, 1, "writes")
	msg, err := decode(entries[0].Value())
	assert.NoError(t, err)
	assert.Equal(t, newMessage(1, 1), msg)

	for want, db := range []*bucket{a, b, a} {
		n, err := db.counter("failed").add(ctx, "m1")
		assert.NoError(t, err)
		assert.Equal(t, want+1, n, "failures")
	}
	n, err := a.counter("delivered").add(ctx, "m1")
	assert.NoError(t, err)
	assert.Equal(t, 1, n, "deliveries")
	assert.NoError(t, b.counter("failed").forget(ctx, "m1"))
	n, err = a.counter("failed").add(ctx, "m1")
	assert.NoError(t, err)
	assert.Equal(t, 1, n, "failures after forgetting")

	for _, want := range []bool{false, true} {
		done, err := b.isDone(ctx, "restarted m1")
		assert.NoError(t, err)
		assert.Equal(t, want, done)
		assert.NoError(t, a.markDone(ctx, "restarted m1"))
	}
}
