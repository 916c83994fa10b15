package main

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// inFlight knows the deliveries that have a handler, and those in doubt: the
// broker may not have heard what becomes of them. The zero value is ready to
// use.
type inFlight struct {
	mu     sync.Mutex // never held while waiting
	open   map[*Delivery]progress
	doubts map[string]*Delivery // by message
}

// begin notes that a handler has a delivery. An earlier delivery of the message
// is not in doubt any more: its lease is over, otherwise there would be no new
// one.
func (f *inFlight) begin(d *Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = make(map[*Delivery]progress)
		f.doubts = make(map[string]*Delivery)
	}
	delete(f.open, f.doubts[d.ID])
	delete(f.doubts, d.ID)
	f.open[d] = progress{isWorking, time.Now()}
}

// end notes what the broker knows of a delivery whose handler has ended. If err
// is not nil, the delivery is in doubt until its lease is certainly over.
func (f *inFlight) end(d *Delivery, err error, lease time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.open, d)
		return
	}
	if _, open := f.open[d]; open { // not settled before it panicked
		f.open[d] = progress{isInDoubt, time.Now()}
	}
	f.doubts[d.ID] = d
	time.AfterFunc(lease, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.open, d)
		if f.doubts[d.ID] == d {
			delete(f.doubts, d.ID)
		}
	})
}

// count returns how many deliveries are in flight or in doubt.
func (f *inFlight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

// ids returns the IDs of the messages in flight or in doubt: m9 before m10.
func (f *inFlight) ids() (ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for d := range f.open {
		ids = append(ids, d.ID)
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	return slices.Compact(ids)
}

// A progress is how far a delivery has got, and since when.
type progress struct {
	stage stage
	since time.Time
}

// A stage of the way of a delivery.
type stage string

const (
	isWorking  stage = "working"
	isSettling stage = "settling" // the work has ended
	isInDoubt  stage = "in doubt" // the handler has ended, see inFlight
)

// settles notes that the work on a delivery has ended, and will be settled.
func (f *inFlight) settles(d *Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[d] = progress{isSettling, time.Now()}
}

// An entry is a delivery in flight or in doubt.
type entry struct {
	*Delivery
	progress
}

// list returns the deliveries in flight or in doubt, those first that have been
// in their stage for the longest time.
func (f *inFlight) list() (list []entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for d, p := range f.open {
		list = append(list, entry{d, p})
	}
	slices.SortFunc(list, func(a, b entry) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.ID, b.ID))
	})
	return list
}
