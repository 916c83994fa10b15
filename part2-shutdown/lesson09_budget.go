// Lesson 2.9: the budget is not yours.
//
// Whoever stops a service waits, but not for ever: systemd 90s, Kubernetes 30s,
// Docker 10s. Then it sends KILL. Our supervisor waits for three seconds, and
// two restarts are in progress that need ten.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// asLongAsItTakes is the mistake. Five seconds is a good time for a drain, but
// the function does not ask how much time there is.
func asLongAsItTakes(patience time.Duration) (drain, grace time.Duration) {
	return 5 * time.Second, time.Second
}

// withinThePatience is the fix. The stages together leave a third of the time.
// A poll that the broker does not answer runs at the same time, and its
// time-out has to fit as well: with leases of two seconds it is 2.4s.
func withinThePatience(patience time.Duration) (drain, grace time.Duration) {
	return patience / 2, patience / 6
}

// A stagesFunc divides the patience of a supervisor among the stages.
type stagesFunc func(patience time.Duration) (drain, grace time.Duration)

// patience is how long a service has, from TERM to KILL.
const patience = 3 * time.Second

// supervise stops a program as a supervisor does: TERM when it prints the line,
// and KILL when the patience runs out.
func supervise(line string) func(printed string, p *os.Process) {
	return func(printed string, p *os.Process) {
		if strings.Contains(printed, line) {
			p.Signal(syscall.SIGTERM)
			time.AfterFunc(patience, func() { p.Kill() })
		}
	}
}

// twoRestarts is a whole program: the service, with two messages. It exits as
// main does.
func twoRestarts(
	_ context.Context, s *scene, stages stagesFunc,
) verdict {
	signal.Reset() // our own main has listened already
	ctx := listen(s.log)
	b := newBroker(slog.New(slog.DiscardHandler), 2*time.Second, 2)
	m := &Mandrill{
		log: s.log, queue: b, lease: b.lease,
		save: func(context.Context, Message) error { return nil },
		restart: func(ctx context.Context, msg Message) error {
			s.log.Info("restarting", "id", msg.ID)
			return sleep(ctx, 10*time.Second)
		},
	}
	m.drain, m.grace = stages(patience)
	publish(ctx, b, s.seed, 2, 0)
	err := m.Run(ctx)
	s.log.Info("ended", "err", err)
	os.Exit(status(err))
	return verdict{}
}

// countSettled judges a run by how many of the messages have been settled.
func countSettled(endings []ending) verdict {
	e := endings[0]
	begun := strings.Count(e.printed, "msg=restarting")
	settled := strings.Count(e.printed, "msg=settled")
	return verdict{
		text:   fmt.Sprintf("%s, %d begun, %d settled", e.how, begun, settled),
		failed: settled < begun,
	}
}

var supervised = child{
	verdict: countSettled,
	onLine:  supervise("restarting id=m2"),
	gets: fmt.Sprintf("SIGTERM at msg=restarting, and SIGKILL %v later",
		patience),
}

var lesson09 = lesson{
	number: 9, core: true, title: "the budget is not yours",
	watch:    "how many of two messages are settled before the kill",
	mistakes: inChild(supervised, runs(twoRestarts, asLongAsItTakes)),
	fix:      inChild(supervised, runs(twoRestarts, withinThePatience)),
}
