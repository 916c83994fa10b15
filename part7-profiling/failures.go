package main

import (
	"context"
	"sync"
	"time"
)

// A counter keeps how often a message has failed, or was delivered. Its methods
// may be called from any goroutine.
type counter interface {
	// add counts up and returns the count.
	add(ctx context.Context, id string) (n int, err error)

	// forget drops the count of a message.
	forget(ctx context.Context, id string) error
}

// A memoryCounter is a counter for one process. Another process that shares the
// queue counts for itself, so a message may fail more often than a single
// service would let it. The counts are gone with the process. Only the broker's
// count of deliveries holds for all. The zero value is ready to use.
type memoryCounter struct {
	mu     sync.Mutex // never held while waiting
	counts map[string]*count
}

// A count is that of one message.
type count struct {
	failures int
	expire   *time.Timer
}

// countLasts is how long a count lasts after the last failure. A message that
// another process has settled leaves its count behind.
const countLasts = 20 * time.Minute

// add implements counter.
func (c *memoryCounter) add(_ context.Context, id string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[string]*count)
	}
	n := c.counts[id]
	if n == nil {
		n = &count{expire: time.AfterFunc(countLasts, func() {
			c.forget(context.Background(), id)
		})}
		c.counts[id] = n
	}
	n.failures++
	n.expire.Reset(countLasts)
	return n.failures, nil
}

// forget implements counter.
func (c *memoryCounter) forget(_ context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.counts[id]; n != nil {
		n.expire.Stop()
		delete(c.counts, id)
	}
	return nil
}

// countFailure counts a failure and returns how many there are. If the counter
// fails, it takes the deliveries for failures, so that the pauses grow, but not
// so many that they make a dead letter. The bound on deliveries still holds.
func (m *Mandrill) countFailure(ctx context.Context, d *Delivery) int {
	ctx, cancel := settling(ctx, m.grace/2)
	defer cancel()
	n, err := m.failures.add(ctx, d.ID)
	if err != nil {
		m.log.Warn("failure not counted", "id", d.ID, "err", oneLine(err))
		return min(d.Attempt, m.maxFailures-1)
	}
	return n
}

// countDelivery counts a delivery and returns how many there are. The broker
// counts, too, but if it was killed it may have forgotten some. If our counter
// fails, or if there is none, only the broker's count holds.
func (m *Mandrill) countDelivery(ctx context.Context, d *Delivery) int {
	if m.deliveries == nil {
		return d.Attempt
	}
	ctx, cancel := settling(ctx, m.grace/2)
	defer cancel()
	n, err := m.deliveries.add(ctx, d.ID)
	if err != nil {
		m.log.Warn("delivery not counted", "id", d.ID, "err", oneLine(err))
	}
	return max(n, d.Attempt)
}

// forgetFailures drops the count of a message that is settled.
func (m *Mandrill) forgetFailures(ctx context.Context, d *Delivery) {
	ctx, cancel := settling(ctx, m.grace/2)
	defer cancel()
	if err := m.failures.forget(ctx, d.ID); err != nil {
		m.log.Warn("failure count not dropped", "id", d.ID, "err", oneLine(err))
	}
}
