package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The names of what we keep in JetStream.
const (
	requestStream  = "MAYHEM"   // of messages that are not settled
	requestSubject = "restart." // and the ID of the message
	deadStream     = "MAYHEM_DEAD"
	deadSubject    = "dead."
	reasonHeader   = "Mayhem-Reason" // of a dead letter
	cutHeader      = "Mayhem-Cut-Of" // bytes, if it was cut
	consumerName   = "mandrill"      // all processes share it
	bucketName     = "mayhem"        // see bucket.go
)

// keepFor is how long dead letters and the entries of the bucket are kept. It
// has to be longer than a message may wait.
const keepFor = 30 * 24 * time.Hour

// requestConfig returns the configuration of the stream of requests.
func requestConfig(room, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:       requestStream,
		Subjects:   []string{requestSubject + "*"},
		Retention:  jetstream.WorkQueuePolicy, // an ack removes the message
		Discard:    jetstream.DiscardNew,      // full: refuse, don't forget
		MaxMsgs:    int64(room),
		Duplicates: 2 * publishGiveUp, // a message ID is known for that long
		Storage:    jetstream.FileStorage,
		Replicas:   replicas,
	}
}

// deadConfig returns the configuration of the stream of dead letters. There is
// one for each message, the last.
func deadConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              deadStream,
		Subjects:          []string{deadSubject + ">"},
		MaxMsgsPerSubject: 1,
		MaxAge:            keepFor,
		Duplicates:        2 * publishGiveUp,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
	}
}

// consumerConfig returns the configuration of the consumer.
func consumerConfig(lease time.Duration) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:   consumerName,
		AckPolicy: jetstream.AckExplicitPolicy,
		AckWait:   lease,
		// We count, and make dead letters. The server would only stop
		// delivering.
		MaxDeliver: -1,
		// Each process bounds itself by its slots. This would bound all of
		// them together.
		MaxAckPending: -1,
	}
}

// bucketConfig returns the configuration of the bucket.
func bucketConfig(replicas int) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket:   bucketName,
		History:  5, // enough to show a key that was written twice
		TTL:      keepFor,
		Storage:  jetstream.FileStorage,
		Replicas: replicas,
	}
}

// openBroker finds or creates the streams and the consumer. It tries for
// openTime, because a cluster that has just been started needs time to elect
// its leaders.
func openBroker(
	ctx context.Context, log *slog.Logger, nc *nats.Conn, lease time.Duration,
	room, replicas int,
) (*jetBroker, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	b := &jetBroker{log: log, nc: nc, js: js, lease: lease}
	err = untilReady(ctx, log, func(ctx context.Context) error {
		if _, err := js.AccountInfo(ctx); err != nil {
			return err
		}
		b.stream, err = openStream(ctx, js, requestConfig(room, replicas))
		if err != nil {
			return err
		}
		if _, err = openStream(ctx, js, deadConfig(replicas)); err != nil {
			return err
		}
		b.consumer, err = openConsumer(ctx, b.stream, consumerConfig(lease))
		return err
	})
	return b, err
}

// How long to try to open what we need, in all and each time.
const (
	openTime = 30 * time.Second
	openTry  = 5 * time.Second
)

// untilReady calls open until it succeeds, until it fails in a way that waiting
// won't change, or for openTime.
func untilReady(
	ctx context.Context, log *slog.Logger, open func(context.Context) error,
) error {
	begun := time.Now()
	for failures := 1; ; failures++ {
		try, cancel := context.WithTimeoutCause(ctx, openTry, errNoAnswer)
		err := causeOf(try, open(try))
		cancel()
		_, refused := errors.AsType[setupError](err)
		switch {
		case err == nil, refused:
			return err
		case errors.Is(err, nats.ErrNoResponders),
			errors.Is(err, jetstream.ErrJetStreamNotEnabled),
			errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
			return errNoJetStream
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isAPIError(err) && !isUnavailable(err):
			return setupError{err}
		case time.Since(begun) > openTime:
			return fmt.Errorf("JetStream is not ready: %w", err)
		}
		pause := pauseAfter(failures)
		log.Info("JetStream is not ready", "again_in", pause,
			"err", oneLine(err))
		sleep(ctx, pause)
	}
}

// errNoJetStream says that we are connected, but have no JetStream.
var errNoJetStream = errors.New("the server has no JetStream for this user")

// isAPIError reports whether a server has refused something.
func isAPIError(err error) bool {
	_, ok := errors.AsType[*jetstream.APIError](err)
	return ok
}

// isUnavailable reports whether a refusal may be temporary: there is no leader
// yet, for example.
func isUnavailable(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.Code == 503
}

// A setupError says what has to be changed in JetStream before we can work with
// it.
type setupError struct{ error }

// Unwrap returns the error that says it.
func (e setupError) Unwrap() error { return e.error }

// ExitStatus returns the status in the README's table.
func (e setupError) ExitStatus() int { return 2 }

// openStream creates a stream. If there is one of that name, it must agree with
// ours where that matters. Its limits and replicas are its owner's choice.
func openStream(
	ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig,
) (jetstream.Stream, error) {
	s, err := js.CreateStream(ctx, want)
	if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return s, wrap("stream "+want.Name, err)
	}
	if s, err = js.Stream(ctx, want.Name); err != nil {
		return nil, wrap("stream "+want.Name, err)
	}
	have := s.CachedInfo().Config
	return s, differ("stream "+want.Name, []setting{
		{"subjects", have.Subjects, want.Subjects},
		{"retention", have.Retention, want.Retention},
		{"discard policy", have.Discard, want.Discard},
		{"max age", have.MaxAge, want.MaxAge},
		{"duplicate window", // at least
			min(have.Duplicates, want.Duplicates), want.Duplicates},
		{"max messages per subject",
			max(have.MaxMsgsPerSubject, 0), want.MaxMsgsPerSubject},
		{"storage", have.Storage, want.Storage},
		{"no ack", have.NoAck, want.NoAck},
		{"sealed", have.Sealed, want.Sealed},
	})
}

// openConsumer does the same for the consumer.
func openConsumer(
	ctx context.Context, s jetstream.Stream, want jetstream.ConsumerConfig,
) (jetstream.Consumer, error) {
	c, err := s.CreateConsumer(ctx, want)
	if errors.Is(err, jetstream.ErrConsumerExists) {
		c, err = s.Consumer(ctx, want.Durable)
	}
	if errors.Is(err, jetstream.ErrNotPullConsumer) {
		return nil, setupError{wrap("consumer "+want.Durable, err)}
	}
	if err != nil {
		return nil, wrap("consumer "+want.Durable, err)
	}
	have := c.CachedInfo().Config
	return c, differ("consumer "+want.Durable, []setting{
		{"ack policy", have.AckPolicy, want.AckPolicy},
		{"ack wait", have.AckWait, want.AckWait},
		{"backoff", have.BackOff, want.BackOff},
		{"max deliver", have.MaxDeliver, want.MaxDeliver},
		{"filter", have.FilterSubject, want.FilterSubject},
		{"filters", have.FilterSubjects, want.FilterSubjects},
		{"headers only", have.HeadersOnly, want.HeadersOnly},
		{"max request expires",
			have.MaxRequestExpires, want.MaxRequestExpires},
		{"paused", c.CachedInfo().Paused, false},
	})
}

// openKV does the same for the bucket.
func openKV(
	ctx context.Context, js jetstream.JetStream, want jetstream.KeyValueConfig,
) (jetstream.KeyValue, error) {
	kv, err := js.CreateKeyValue(ctx, want)
	if !errors.Is(err, jetstream.ErrBucketExists) {
		return kv, wrap("bucket "+want.Bucket, err)
	}
	if kv, err = js.KeyValue(ctx, want.Bucket); err != nil {
		return nil, wrap("bucket "+want.Bucket, err)
	}
	is, err := kv.Status(ctx)
	if err != nil {
		return nil, wrap("bucket "+want.Bucket, err)
	}
	have := is.Config()
	return kv, differ("bucket "+want.Bucket, []setting{
		{"time to live", have.TTL, want.TTL},
		{"storage", have.Storage, want.Storage},
	})
}

// wrap returns err with the name of what it is about, or nil.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// A setting is a value that we rely on.
type setting struct {
	name       string
	have, want any
}

// differ returns a setupError that names the settings that differ, or nil.
func differ(what string, settings []setting) error {
	var list []string
	for _, s := range settings {
		same := reflect.DeepEqual(s.have, s.want) ||
			fmt.Sprint(s.have) == fmt.Sprint(s.want)
		if !same {
			list = append(list,
				fmt.Sprintf("%s is %v, want %v", s.name, s.have, s.want))
		}
	}
	if len(list) == 0 {
		return nil
	}
	slices.Sort(list)
	return setupError{fmt.Errorf("%s has another configuration: %s",
		what, strings.Join(list, "; "))}
}
