package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestLesson05WhatEachToolMisses(t *testing.T) {
	t.Parallel()
	assertVerdicts(t, lesson05, []verdictRow{
		{"mistake: no one notices", 0, nil,
			verdict{failed: true, text: "still running after 1.2s, " +
				"and no one has said a word"}},
		{"fix: the wait is bounded", 0, nil,
			verdict{text: "every slot is held by work that " +
				"hangs; 2 handlers found in restartRacks"}},
	})
}

// Each tool finds some leaks. A row needs two processes, because a leak can't
// be undone: one looks at the leak with goleak and the profiles, the other one
// has it in a bubble.
func TestLesson05Leaks(t *testing.T) {
	tests := []struct {
		name        string
		leak        func() (where string)
		goleak      bool
		goroutines  bool   // the profile of all goroutines
		leakProfile bool   // of those that can never go on
		bubble      string // how a bubble ends that has the leak
	}{
		{
			name:   "the patient: a ticker",
			leak:   leakExtender,
			goleak: true, goroutines: true,
			bubble: "blocked goroutines remain",
		},
		{
			name:   "a result that nobody receives",
			leak:   leakResult,
			goleak: true, goroutines: true, leakProfile: true,
			bubble: "blocked goroutines remain",
		},
		{
			name:   "a channel in a global variable",
			leak:   leakGlobal,
			goleak: true, goroutines: true,
			bubble: "still running after",
		},
		{
			name:   "a context that ends in ten minutes",
			leak:   leakTimeout,
			goleak: true, goroutines: true,
			bubble: "blocked goroutines remain",
		},
		{
			name:   "iter.Pull without stop",
			leak:   leakPull,
			goleak: true, goroutines: true,
			bubble: "blocked goroutines remain",
		},
		{
			name:   "a map that only grows",
			leak:   leakMemory,
			bubble: "exit status 0",
		},
	}
	do, name, _ := strings.Cut(os.Getenv(selfEnv), " ")
	for _, tt := range tests {
		switch {
		case name != tt.name:
		case do == "bubble":
			inBubble(t, func(*testing.T) { fmt.Println("left", tt.leak()) })
			os.Exit(0)
		case do == "look":
			lookAt(tt.leak)
			os.Exit(0)
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			looked := watchTest(t, "TestLesson05Leaks", "look "+tt.name, false)
			assert.Equal(t, tt.goleak,
				strings.Contains(looked.printed, "goleak: true"), "goleak")
			assert.Equal(t, tt.goroutines,
				strings.Contains(looked.printed, "goroutine: true"),
				"goroutine profile")
			if pprof.Lookup("goroutineleak") != nil {
				assert.Equal(t, tt.leakProfile,
					strings.Contains(looked.printed, "goroutineleak: true"),
					"leak profile")
			}
			assert.Equal(t, 0, looked.code, looked.printed)

			hangs := tt.bubble == "still running after"
			e := watchTest(t, "TestLesson05Leaks", "bubble "+tt.name, hangs)
			assert.Contains(t, e.how+" "+e.why, tt.bubble, "bubble")
			assert.Contains(t, e.printed, "left ", "it got that far")
		})
	}
}

// The leak profile is an experiment in Go 1.26. This test says how to run its
// column of the table.
func TestLesson05LeakProfile(t *testing.T) {
	if pprof.Lookup("goroutineleak") == nil {
		t.Skip("needs an experiment: GOEXPERIMENT=goroutineleakprofile " +
			"go test -run Lesson05Leak ./part6-debugging")
	}
	if os.Getenv(selfEnv) == "seven" {
		for range 7 {
			leakExtender()
		}
		n, _ := extenders()
		fmt.Println(n, "extenders, in the leak profile:",
			strings.Count(profileOf("goroutineleak"), "returnEarly.func1"))
		os.Exit(0)
	}
	e := watchTest(t, "TestLesson05LeakProfile", "seven", false)
	assert.Equal(t, "7 extenders, in the leak profile: 0\n", e.printed)
}

// lookAt prints which tools find a leak.
func lookAt(leak func() (where string)) {
	ignore := goleak.IgnoreCurrent()
	where := leak()
	found := goleak.Find(ignore) // it also gives the goroutine time to begin
	fmt.Println("goleak:",
		found != nil && strings.Contains(found.Error(), where))
	for _, name := range []string{"goroutine", "goroutineleak"} {
		if pprof.Lookup(name) != nil {
			fmt.Printf("%s: %t\n", name,
				strings.Contains(profileOf(name), where))
		}
	}
}

// profileOf returns a profile as text.
func profileOf(name string) string {
	var text bytes.Buffer
	pprof.Lookup(name).WriteTo(&text, 1) // a Buffer never fails
	return text.String()
}

// leakExtender leaves the patient behind.
func leakExtender() (where string) {
	fails := func(context.Context, Message) error { return errDatabaseGone }
	returnEarly(context.Background(), newDelivery(newMessage(1, 1)),
		fails, nothing)
	return "returnEarly.func1"
}

// leakResult returns before the result is there.
func leakResult() (where string) {
	result := make(chan error)
	go func() { result <- errDatabaseGone }()
	return "leakResult.func1"
}

var never = make(chan error)

// leakGlobal has a goroutine wait for something that never comes, but could.
func leakGlobal() (where string) {
	go func() { <-never }()
	return "leakGlobal.func1"
}

// leakTimeout forgets to cancel: the goroutine waits for the time-out.
func leakTimeout() (where string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	_ = cancel
	go func() { <-ctx.Done() }()
	return "leakTimeout.func1"
}

// leakPull does not call stop.
func leakPull() (where string) {
	next, _ := iter.Pull(func(yield func(int) bool) {
		for yield(1) {
		}
	})
	next()
	return "leakPull.func1"
}

var seen = make(map[int]bool)

// leakMemory remembers every message.
func leakMemory() (where string) {
	for n := range 1000 {
		seen[n] = true
	}
	return "leakMemory"
}

// Go reports some deadlocks. All of these processes deadlock in the same way:
// testdata/deadlock locks a mutex twice. They differ in what else they have
// done, and in how they are built.
func TestLesson05Deadlocks(t *testing.T) {
	tests := []struct {
		name     string
		did      string // before the deadlock
		build    string // a flag of go build
		cgo      string // CGO_ENABLED
		reported bool
	}{
		{name: "plain", reported: true},
		{name: "a ticker that nobody reads", did: "ticker", reported: true},
		{name: "a timer is pending", did: "timer"},
		{name: "another goroutine sleeps", did: "sleeper"},
		{name: "signal.Notify", did: "notify"},
		{name: "signal.Notify, and then Stop", did: "stop"},
		{name: "imports net, without cgo",
			build: "-tags=usesnet", cgo: "0", reported: true},
		{name: "imports net, with cgo",
			build: "-tags=usesnet", cgo: "1"},
		{name: "go build -race", build: "-race", cgo: "1"},
	}
	dir := t.TempDir()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.cgo == "1" {
				needCompiler(t)
			}
			path := filepath.Join(dir, "deadlock"+tt.cgo+tt.build+".exe")
			if _, err := os.Stat(path); err != nil {
				build := exec.Command("go", "build", "-o", path,
					cmp.Or(tt.build, "-v=false"), "./testdata/deadlock")
				build.Env = append(os.Environ(),
					"CGO_ENABLED="+cmp.Or(tt.cgo, "0"))
				out, err := build.CombinedOutput()
				require.NoError(t, err, string(out))
			}
			t.Parallel()
			c := &child{alone: true, hangs: !tt.reported,
				binary: func() (string, func(), error) {
					return path, func() {}, nil
				}}
			endings, err := c.watch(t.Context(), io.Discard, 0,
				cmp.Or(tt.did, "nothing"))
			require.NoError(t, err)
			assert.Equal(t, tt.reported, endings[0].why ==
				"all goroutines are asleep - deadlock!", endings[0].how)
			assert.Equal(t, !tt.reported, endings[0].code == -1, "killed")
			assert.Contains(t, endings[0].printed, "locked\n")
		})
	}
}

// needCompiler skips a test that needs a C compiler, if there is none.
func needCompiler(t *testing.T) {
	t.Helper()
	cc, err := exec.Command("go", "env", "CC").Output()
	if err == nil {
		_, err = exec.LookPath(strings.TrimSpace(string(cc)))
	}
	if err != nil {
		t.Skip("needs a C compiler; then: " +
			"go test -run Lesson05Deadlocks ./part6-debugging")
	}
}
