package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The suite of the mistake. Each test plays a case, and checks the end result.

// runSuite runs the service for three messages, in three slots, and returns its
// broker.
func runSuite(t *testing.T, set func(m *Mandrill)) (b *broker, err error) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	b = newBroker(log, 2*time.Second, 3)
	require.NoError(t, publish(t.Context(), b, 1, 3, 0))
	m := newMandrill(b, func(m *Mandrill) { m.slots = 3 })
	set(m)
	return b, m.Run(t.Context())
}

func TestMistake05Acks(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, err := runSuite(t, func(m *Mandrill) {
			m.restart = takes(time.Second)
		})
		assert.NoError(t, err)
		assert.Equal(t, 3, b.count("acked"), "acked")
	})
}

func TestMistake05LongWork(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b, err := runSuite(t, func(m *Mandrill) {
			m.restart = takes(5 * time.Second) // longer than the lease
		})
		assert.NoError(t, err)
		assert.Equal(t, 3, b.count("acked"), "acked")
		assert.Zero(t, b.count("expired"), "leases lost")
	})
}

func TestMistake05Failures(t *testing.T) {
	for name, tt := range map[string]struct {
		restart workFunc
		want    string // what the broker counts three of
	}{
		"refused":   {refused, "dead-lettered"},
		"permanent": {permanent, "dead-lettered"},
		"panics": {func(context.Context, Message) error {
			panic("on purpose")
		}, "dead-lettered"},
		"twice": {unreliableTwice(), "acked"},
		"hangs": {takes(time.Hour), "dead-lettered"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b, err := runSuite(t, func(m *Mandrill) {
					m.restart, m.maxFailures = tt.restart, 4
				})
				assert.NoError(t, err)
				assert.Equal(t, 3, b.count(tt.want), tt.want)
			})
		})
	}
}

// permanent is work that can't be done.
func permanent(context.Context, Message) error {
	return permanentError{errNoSuchHost}
}

// unreliableTwice returns work that fails twice for each message.
func unreliableTwice() workFunc {
	var mu sync.Mutex
	calls := make(map[string]int)
	return func(_ context.Context, msg Message) error {
		mu.Lock()
		defer mu.Unlock()
		if calls[msg.ID]++; calls[msg.ID] <= 2 {
			return errRefused
		}
		return nil
	}
}

// TestMistake05Stops plays each kind of shutdown, and checks how it ends.
func TestMistake05Stops(t *testing.T) {
	for name, tt := range map[string]struct {
		restart workFunc
		want    error
	}{
		"drained":   {takes(2 * time.Second), nil},
		"forced":    {takes(time.Minute), forcedError{}},
		"abandoned": {ignoring(time.Minute), &abandonedError{[]string{"m1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := quietBroker(2*time.Second, 1)
				publishOnly(t, b, 1)
				m := newMandrill(b, func(m *Mandrill) {
					m.restart = tt.restart
				})
				err := runUntil(t, m, time.Second)
				if tt.want == nil {
					assert.NoError(t, err)
				} else {
					assert.EqualError(t, err, tt.want.Error())
				}
				time.Sleep(time.Minute) // for what was abandoned
			})
		})
	}
}

func TestMistake05BrokerFails(t *testing.T) {
	for _, verb := range []string{"receive", "extend", "ack", "nack"} {
		t.Run(verb, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := quietBroker(2*time.Second, 1)
				require.NoError(t, publish(t.Context(), b, 1, 1, 0))
				failures := 0
				b.fail = func(v, _ string) (bool, error) {
					if v == verb && failures < 2 {
						failures++
						return false, errUnreachable
					}
					return false, nil
				}
				m := newMandrill(b, func(m *Mandrill) {
					m.restart = takes(3 * time.Second)
				})
				assert.NoError(t, m.Run(t.Context()))
				assert.Equal(t, 1, b.count("acked"), "acked")
			})
		})
	}
}

func TestMistake05BrokerIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := quietBroker(2*time.Second, 1)
		b.fail = outage(-1)
		m := newMandrill(b, func(m *Mandrill) {})
		assert.ErrorIs(t, m.Run(t.Context()), errUnreachable)
	})
}

func TestMistake05Judge(t *testing.T) {
	for name, tt := range map[string]struct {
		held             bool
		saved, restarted error
		want             outcome
	}{
		"done":      {true, nil, nil, toAck},
		"refused":   {true, nil, errRefused, toRetry},
		"permanent": {true, nil, permanentError{errNoSuchHost}, toDeadLetter},
		"cut short": {true, nil, errDrainDeadline, toGiveBack},
		"lost":      {false, nil, errLeaseLost, toLetGo},
	} {
		t.Run(name, func(t *testing.T) {
			do, _ := judge(tt.held, tt.saved, tt.restarted)
			assert.Equal(t, tt.want, do)
		})
	}
}

func TestMistake05Backoff(t *testing.T) {
	msg := newMessage(1, 1)
	for failures := 1; failures < 20; failures++ {
		pause := backoff(1, msg, time.Second, failures)
		assert.Positive(t, pause)
		assert.LessOrEqual(t, pause, time.Minute)
	}
}

func TestMistake05Contain(t *testing.T) {
	err := contain(func() error { panic("on purpose") })
	assert.EqualError(t, err, "panic: on purpose")
	assert.NoError(t, contain(func() error { return nil }))
	assert.Equal(t, errRefused, contain(func() error { return errRefused }))
	assert.False(t, isPermanent(errors.Join(errRefused)))
}

func TestLesson05CannotFail(t *testing.T) {
	playTests(t, lesson05, []testRun{
		{"mistake: no test notices that fixes are missing", "mistake", 0,
			verdict{"8 fixes taken out, 0 of 9 tests red", true}},
		{"fix: seven of nine tests notice", "fix", 0,
			verdict{"8 fixes taken out, 7 of 9 tests red", false}},
		{"fix: with the fixes in place, all are green", "fix", 1,
			verdict{"green: 9 tests", false}},
	})
}

// With eight fixes taken out at once, the tests that are red are those that the
// diffs name.
func TestSurvivorsAreFound(t *testing.T) {
	t.Parallel()
	var want []string
	for _, m := range survivors() {
		want = append(want, m.test)
	}
	slices.Sort(want)
	endings := watchRun(t, lesson05, "fix", 0)
	red, _, _ := endings[0].results()
	assert.Equal(t, slices.Compact(want), red)
}

// A fix can be taken out only once.
func TestMutantDoesNotApply(t *testing.T) {
	for _, m := range allMutants() {
		files := make(map[string]string)
		require.NoError(t, m.apply(files))
		for name, text := range files {
			source, _ := sources.ReadFile(name)
			assert.NotEqual(t, string(source), text, m.name)
		}
		assert.ErrorContains(t, m.apply(files), m.name+".diff does not apply")
	}
}

var mutantsFlag = flag.Bool("mutants", false, "build and test every mutant")

// TestMutants takes one fix at a time out of the service. The table in
// testdata/mutants.txt shows which tests are red then, in the suite of the
// mistake and in that of the fix, and how much of the service each suite
// covers. With -mutants the table is measured again, which takes a minute or
// two, and compared. Otherwise TestMutants only checks that it has a row for
// each diff, with its test:
//
//	go test -v -run TestMutants ./part5-testing -mutants
func TestMutants(t *testing.T) {
	const path = "testdata/mutants.txt"
	if *mutantsFlag {
		got := mutantTable(t)
		t.Log("\n" + got)
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err, "-mutants -update records it")
		assert.Equal(t, string(want), got)
	}
	table, err := os.ReadFile(path)
	require.NoError(t, err)
	lived := 0
	for _, m := range allMutants() {
		row := regexp.MustCompile(`(?m)^` + m.name + ` .*$`).
			FindString(string(table))
		assert.Contains(t, row, strings.TrimPrefix(m.test, "TestFix05"),
			"%s: the test that finds it", m.name)
		missed := strings.Contains(row, " -- ")
		assert.Equal(t, slices.Contains(found, m.name), !missed, row)
		if missed {
			lived++
		}
	}
	assert.Equal(t, 8, lived, "mutants that the mistake's suite does not find")
	assert.Len(t, allMutants(), 10)
}

// mutantTable builds and tests every mutant, and measures what the suites
// cover.
func mutantTable(t *testing.T) string {
	t.Helper()
	var table strings.Builder
	row := func(cells ...any) {
		fmt.Fprintf(&table, "%-7s %-6s %-14s %s\n", cells...)
	}
	row("diff", "lesson", "TestMistake05", "TestFix05")
	counts := make(map[string]int)
	for _, m := range allMutants() {
		dir := t.TempDir()
		binary, err := buildMutated(dir, []mutant{m})
		require.NoError(t, err)
		lesson, _, _ := strings.Cut(
			strings.TrimPrefix(m.diff, "Lesson "), ":")
		cells := []any{m.name, lesson}
		for _, suite := range []string{"TestMistake05", "TestFix05"} {
			red := redTests(t, binary, suite)
			if red != "--" {
				counts[suite]++
			}
			cells = append(cells, red)
		}
		row(cells...)
	}
	of10 := func(suite string) string {
		return fmt.Sprintf("%d of %d", counts[suite], len(allMutants()))
	}
	row("found", "", of10("TestMistake05"), of10("TestFix05"))
	row("covered", "", covered(t, "TestMistake05"), covered(t, "TestFix05"))
	row("", "", "", "by all in virtual time: "+covered(t, inVirtualTime))
	return table.String()
}

// redTests runs a suite, and returns the names of its tests that are red. If
// the process dies, it returns the test that was running.
func redTests(t *testing.T, binary, suite string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, "-test.v",
		"-test.timeout=60s", "-test.run=^"+suite).CombinedOutput()
	if err == nil {
		return "--"
	}
	red, _, _ := ending{printed: string(out)}.results()
	if len(red) == 0 {
		begun := regexp.MustCompile(`(?m)^=== RUN   (\w+)`).
			FindAllStringSubmatch(string(out), -1)
		require.NotEmpty(t, begun, string(out))
		red = []string{begun[len(begun)-1][1]}
	}
	for i, name := range red {
		red[i] = strings.TrimPrefix(name, suite)
	}
	return strings.Join(red, ", ")
}

// inVirtualTime are the tests that play the service in a bubble.
const inVirtualTime = "Test(Fix05|Mandrill|Policy|Judge|Try|Backoff|Pauses|" +
	"InFlight|Memory|Ledger|Counts|Invalid|Service|Properties)"

// theService are the files of the consumer.
var theService = []string{"mandrill.go", "receive.go", "lease.go", "attempt.go",
	"policy.go", "settle.go", "failures.go", "inflight.go", "stop.go",
	"errors.go"}

// covered returns how many statements of the service a suite covers.
func covered(t *testing.T, suite string) string {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "cover.out")
	out, err := exec.CommandContext(t.Context(), "go", "test",
		"-run", "^"+suite, "-coverprofile", profile, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	text, err := os.ReadFile(profile)
	require.NoError(t, err)
	all, done := 0, 0
	block := regexp.MustCompile(`(?m)/(\w+\.go):\S+ (\d+) (\d+)$`)
	for _, m := range block.FindAllStringSubmatch(string(text), -1) {
		if slices.Contains(theService, m[1]) {
			statements, _ := strconv.Atoi(m[2])
			all += statements
			if m[3] != "0" {
				done += statements
			}
		}
	}
	return fmt.Sprintf("%d of %d", done, all)
}
