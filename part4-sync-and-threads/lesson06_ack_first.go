// Lesson 4.6: ack first.
//
// The process is killed while it restarts a host, as kill -9 and the OOM killer
// do it: no line of ours runs any more. Then it is started again.

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// ackOnReceipt is the mistake. After the ack there is no lease to extend, and a
// restart may take as long as it likes. What the broker has forgotten is now
// only in this process.
func ackOnReceipt(ctx context.Context, d *Delivery, save, restart workFunc) {
	if err := d.Ack(ctx); err != nil {
		return // it is delivered again
	}
	err := errors.Join(save(ctx, d.Message), restart(ctx, d.Message))
	if err != nil {
		quiet.Error("not restarted", "id", d.ID, "err", err)
	}
}

// ackLast is the fix: the service. It acks when the request is saved and the
// host restarted. So a message may be handled twice, and it must be safe to
// save it twice: save creates the entry, or finds it.
func ackLast(ctx context.Context, d *Delivery, save, restart workFunc) {
	m := &Mandrill{
		log: quiet, lease: lessonLease, save: save, restart: restart,
	}
	m.setDefaults()
	m.inFlight.begin(d)
	do, why := m.handle(ctx, d)
	m.settle(ctx, d, do, why)
}

// lessonLease is the lease in this lesson.
const lessonLease = time.Second

// killedInMidWork has five requests. A process handles them one by one, each
// restart takes 200ms, and in the third one the process is killed. The second
// process works until the stream is empty, and looks into the bucket.
func killedInMidWork(
	ctx context.Context, s *scene,
	handle func(ctx context.Context, d *Delivery, save, restart workFunc),
) verdict {
	nc, stop, err := connect(quiet, "", filepath.Join(os.TempDir(), "data"))
	if err != nil {
		s.log.Error("no server", "err", err)
		return verdict{}
	}
	defer stop()
	b, err := openBroker(ctx, quiet, nc, lessonLease, room, 1)
	if err != nil {
		s.log.Error("no stream", "err", err)
		return verdict{}
	}
	db, err := openBucket(ctx, quiet, b.js, 1)
	if err != nil {
		s.log.Error("no bucket", "err", err)
		return verdict{}
	}
	first := b.stream.CachedInfo().State.LastSeq == 0 // of the two processes
	if b.Close(); first {
		publish(ctx, b, s.seed, 5, 0)
	}
	restart := func(ctx context.Context, msg Message) error {
		s.log.Info("restarting", "id", msg.ID, "host", msg.Instance)
		takes := 200 * time.Millisecond
		if first && msg.ID == "m3" {
			takes = time.Minute // the kill comes first
		}
		if err := sleep(ctx, takes); err != nil {
			return err
		}
		s.log.Info("restarted", "id", msg.ID, "host", msg.Instance)
		return db.markDone(ctx, "restarted "+msg.ID)
	}
	for {
		d, err := b.Receive(ctx, lessonLease/5)
		if err == errNothing {
			continue
		} else if err != nil {
			break
		}
		d.until = d.Asked.Add(lessonLease)
		handle(ctx, d, db.save, restart)
	}
	var lost []string
	for i := range 5 {
		id := fmt.Sprintf("m%d", i+1)
		done, err := db.isDone(ctx, "restarted "+id)
		if err != nil || !done {
			lost = append(lost, id)
		}
	}
	left, _ := b.left(ctx)
	s.log.Info("counted", "in_stream", left,
		"lost", cmp.Or(strings.Join(lost, ","), "none"))
	return verdict{}
}

// countLost judges by what the second process has found in the end.
func countLost(endings []ending) verdict {
	e := endings[0]
	m := regexp.MustCompile(`msg=counted in_stream=0 lost=(\S+)\n`).
		FindStringSubmatch(e.printed)
	if m == nil {
		return verdict{text: "not all was settled, " + e.how}
	}
	return verdict{
		text:   "killed and started again, lost: " + m[1],
		failed: m[1] != "none",
	}
}

var lesson06 = lesson{
	number: 6, core: true, title: "ack first",
	watch:    "what becomes of m3, in progress when we kill the process",
	mistakes: inChild(killed, runs(killedInMidWork, ackOnReceipt)),
	fix:      inChild(killed, runs(killedInMidWork, ackLast)),
}

// killed is a child that is killed while it restarts the host of m3.
var killed = child{
	verdict: countLost,
	gets:    "kill -9 while it restarts the host of m3",
	killAt:  "msg=restarting id=m3",
}
