package main

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
)

// A greedyQueue notes how many messages it was asked for, and how many it has
// handed out.
type greedyQueue struct {
	queue
	polls []string
}

// Receive implements queue.
func (q *greedyQueue) Receive(
	ctx context.Context, wait time.Duration, most int,
) ([]*Delivery, error) {
	batch, err := q.queue.Receive(ctx, wait, most)
	if err == nil {
		q.polls = append(q.polls, fmt.Sprintf("%d of %d", len(batch), most))
	}
	return batch, err
}

// The service asks for as many messages as it has free slots, never for more,
// and gives back the slots of those that don't come.
func TestMandrillTakesFreeSlots(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(10*time.Second, 20)
		publishOnly(t, b, 1)
		q := &greedyQueue{queue: b}
		s := newScene(t.Output(), 1)
		m := newMandrill(b, func(m *Mandrill) {
			m.queue, m.slots = q, 4
			m.restart = s.work("restarted", 1500*time.Millisecond)
		})
		startService(t, m)
		time.Sleep(10 * time.Second)
		for n := range 9 {
			require.NoError(t, b.Publish(t.Context(), newMessage(1, 2+n)))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, 4, s.peak, "at a time")
		assert.Equal(t, "1 of 4", q.polls[0], "three slots are not needed")
		total := 0
		for _, poll := range q.polls {
			var n, most int
			fmt.Sscanf(poll, "%d of %d", &n, &most)
			assert.LessOrEqual(t, most, 4, poll)
			total += n
		}
		assert.Equal(t, 10, total, "%v", q.polls)
		for n := range 5 {
			require.NoError(t, b.Publish(t.Context(), newMessage(1, 11+n)))
		}
		synctest.Wait()
		assert.Equal(t, 4, m.inFlight.count(), "all slots are back")
	})
}

// Of any number of free slots, takeSlots gets all.
func TestTakeSlots(t *testing.T) {
	for slots := 1; slots <= 70; slots++ {
		for free := 1; free <= slots; free++ {
			m := &Mandrill{slots: slots}
			m.setDefaults()
			s := semaphore.NewWeighted(int64(slots))
			require.True(t, s.TryAcquire(int64(slots-free)))
			n, err := m.takeSlots(t.Context(), s)
			require.NoError(t, err)
			assert.Equal(t, free, n, "of %d slots", slots)
			assert.False(t, s.TryAcquire(1))
		}
	}
}

// Messages that come when the service has been stopped are given back unbegun,
// all at the same time. One that can't be given back is named.
func TestMandrillGivesBackABatch(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newScene(t.Output(), 1)
		b := newBroker(s.log, 10*time.Second, 3)
		b.slow = map[string]time.Duration{
			"receive": time.Second, "nack": 100 * time.Millisecond,
		}
		b.fail = func(verb, id string) (bool, error) {
			if verb == "nack" && id == "m2" {
				return false, errUnreachable
			}
			return false, nil
		}
		publishOnly(t, b, 3)
		m := newMandrill(b, func(m *Mandrill) {
			m.slots, m.save = 3, s.work("saved", 0)
		})
		err := runUntil(t, m, time.Second/2)
		assertAbandoned(t, err, "m2")
		assert.Equal(t, 1100*time.Millisecond, time.Since(s.start), "Run took")
		assert.Zero(t, s.count("saved"), "begun")
		for _, id := range []string{"m1", "m3"} {
			assert.Equal(t, []string{
				"0s: delivered #1", "1.1s: nacked #1",
			}, b.story(id))
		}
	})
}

// JetStream hands out what is there, in one answer, and waits for a message if
// nothing is there.
func TestReceiveBatch(t *testing.T) {
	t.Parallel()
	b := jetBrokerFor(t, time.Minute, room)
	for n := range 5 {
		require.NoError(t, b.Publish(t.Context(), newMessage(1, n+1)))
	}
	require.Eventually(t, func() bool {
		info, err := b.consumer.Info(t.Context())
		return err == nil && info.NumPending == 5
	}, time.Minute, time.Millisecond, "a consumer hears of them a moment later")
	batch, err := b.Receive(t.Context(), time.Minute, 3)
	require.NoError(t, err)
	assert.Len(t, batch, 3)
	batch, err = b.Receive(t.Context(), time.Minute, 10)
	require.NoError(t, err)
	assert.Len(t, batch, 2, "what is there")
	_, err = b.Receive(t.Context(), 100*time.Millisecond, 10)
	assert.Equal(t, errNothing, err)
	time.AfterFunc(100*time.Millisecond, func() {
		b.Publish(t.Context(), newMessage(1, 6))
	})
	batch, err = b.Receive(t.Context(), 30*time.Second, 10)
	require.NoError(t, err)
	require.Len(t, batch, 1)
	assert.WithinDuration(t, time.Now(), batch[0].Published, 10*time.Second)
}

// A full stream is backpressure: the publisher waits until there is room.
func TestPublisherWaitsForRoom(t *testing.T) {
	t.Parallel()
	b := jetBrokerFor(t, time.Minute, 2)
	for n := range 2 {
		require.NoError(t, b.Publish(t.Context(), newMessage(1, n+1)))
	}
	brief, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	assert.ErrorIs(t, b.Publish(brief, newMessage(1, 3)),
		context.DeadlineExceeded, "no room")
	published := make(chan error, 1)
	go func() { published <- b.Publish(t.Context(), newMessage(1, 3)) }()
	batch, err := b.Receive(t.Context(), time.Second, 3)
	require.NoError(t, err)
	require.Len(t, batch, 2, "the third one has no room")
	assert.Empty(t, published)
	require.NoError(t, batch[0].Ack(t.Context()))
	require.NoError(t, <-published)
}

// Two processes count the failures of a message together.
func TestSharedCounts(t *testing.T) {
	t.Parallel()
	b := jetBrokerFor(t, time.Minute, room)
	for want := range 3 {
		db, err := openBucket(t.Context(), quiet, b.js, 1)
		require.NoError(t, err)
		n, err := db.counter("failed").add(t.Context(), "m1")
		require.NoError(t, err)
		assert.Equal(t, want+1, n, "by another process each time")
	}
}
