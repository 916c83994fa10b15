package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// A bucket holds what outlives the process, apart from the messages. Its keys
// are
//
//	saved.m7      the request, written once
//	restarted.m7  there if the host was restarted
//	failed.m7     how often m7 has failed
//	delivered.m7  how often m7 was delivered
//	published     the last number that a message was given
//
// Each method asks the server, and returns its error.
type bucket struct {
	log *slog.Logger
	kv  jetstream.KeyValue
}

// openBucket finds or creates the bucket.
func openBucket(
	ctx context.Context, log *slog.Logger, js jetstream.JetStream, replicas int,
) (*bucket, error) {
	db := bucket{log: log}
	return &db, untilReady(ctx, log, func(ctx context.Context) (err error) {
		db.kv, err = openKV(ctx, js, bucketConfig(replicas))
		return err
	})
}

// create writes a key, unless it is there. Of several processes that try, only
// one succeeds. create reports whether it was this one.
func (db *bucket) create(
	ctx context.Context, key string, value []byte,
) (first bool, err error) {
	_, err = db.kv.Create(ctx, key, value)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil
	}
	return err == nil, causeOf(ctx, err)
}

// save is work: it saves a request, or finds it. It refuses another request
// with the same ID.
func (db *bucket) save(ctx context.Context, msg Message) error {
	first, err := db.create(ctx, "saved."+msg.ID, encode(msg))
	if err != nil {
		return err
	}
	if first {
		db.log.Info("saved", "id", msg.ID, "host", msg.Instance)
		return nil
	}
	e, err := db.kv.Get(ctx, "saved."+msg.ID)
	if err == nil && !bytes.Equal(e.Value(), encode(msg)) {
		return permanentError{errUsedID}
	}
	return causeOf(ctx, err)
}

// isDone implements database.
func (db *bucket) isDone(ctx context.Context, what string) (bool, error) {
	_, err := db.kv.Get(ctx, strings.ReplaceAll(what, " ", "."))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, causeOf(ctx, err)
}

// markDone implements database.
func (db *bucket) markDone(ctx context.Context, what string) error {
	_, err := db.create(ctx, strings.ReplaceAll(what, " ", "."), nil)
	return err
}

// counter returns a counter that all processes share.
func (db *bucket) counter(what string) counter {
	return &bucketCounter{db, what + "."}
}

// A bucketCounter is a counter in a bucket.
type bucketCounter struct {
	db     *bucket
	prefix string // of its keys
}

// add implements counter.
func (c *bucketCounter) add(ctx context.Context, id string) (int, error) {
	return c.db.increment(ctx, c.prefix+id)
}

// forget implements counter.
func (c *bucketCounter) forget(ctx context.Context, id string) error {
	return causeOf(ctx, c.db.kv.Purge(ctx, c.prefix+id))
}

// next returns a number that no other call has returned, in this process or
// another one. (It begins again if nothing is published for as long as
// keepFor.) It tries again like Publish.
func (db *bucket) next(ctx context.Context) (n int, err error) {
	err = insist(ctx, db.log, "numbered", func(ctx context.Context) error {
		n, err = db.increment(ctx, "published")
		return err
	})
	return n, err
}

// increment counts up and returns the count. If another process counts at the
// same time, the server refuses one of the two, which then tries again.
func (db *bucket) increment(ctx context.Context, key string) (int, error) {
	for range 100 {
		n, revision := 0, uint64(0) // of a key that is not there
		e, err := db.kv.Get(ctx, key)
		switch {
		case err == nil:
			revision = e.Revision()
			if n, err = strconv.Atoi(string(e.Value())); err != nil {
				return 0, fmt.Errorf("bucket: %s is no count: %w", key, err)
			}
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return 0, causeOf(ctx, err)
		}
		value := []byte(strconv.Itoa(n + 1))
		if revision == 0 {
			_, err = db.kv.Create(ctx, key, value)
		} else {
			_, err = db.kv.Update(ctx, key, value, revision)
		}
		switch {
		case err == nil:
			return n + 1, nil
		case !errors.Is(err, jetstream.ErrKeyExists) &&
			!errors.Is(err, jetstream.ErrKeyRevisionMismatch):
			return 0, causeOf(ctx, err)
		}
	}
	return 0, fmt.Errorf("bucket: %s changes too often", key)
}
