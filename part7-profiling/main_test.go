package main

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUsage(t *testing.T) {
	tests := []struct {
		args, wantErr string
		wantStatus    int
	}{
		{"lessons", "", 0},
		{"mistake 99", `no lesson "99"; the command "lessons" lists them`, 2},
		{"fix x", `no lesson "x"; the command "lessons" lists them`, 2},
		{"mistake", `don't know "mistake"; ` +
			`try: lessons, mistake N, fix N`, 2},
		{"mistake 1 7", `don't know "mistake 1 7"; ` +
			`try: lessons, mistake N, fix N`, 2},
		{"restart", `don't know "restart"; ` +
			`try: lessons, mistake N, fix N`, 2},
		{"-debug :6060", "-debug :6060: want a loopback address and a port, " +
			"such as 127.0.0.1:6060, because whoever reaches these pages " +
			"can read what the service does, and slow it down", 2},
		{"lessons -n 3", `-n is for the service, not for "lessons"`, 2},
		{"-n -1", "-n -1: want 0 or more messages", 2},
		{"-load -1", "-load -1: want 1 or more messages, and no -n", 2},
		{"-load 5 -n 5", "-load 5: want 1 or more messages, and no -n", 2},
		{"-n x", `invalid value "x" for flag -n: parse error; ` +
			`-h shows the flags`, 2},
		{"-drain 0s", "-drain 0s: want more than 0s, and 24h at most", 2},
		{"-drain 25h", "-drain 25h0m0s: want more than 0s, and 24h at most", 2},
		{"-stuck -1", "-stuck -1: want 0 or more", 2},
		{"-speed 0", "-speed 0: want 0.01 to 100", 2},
		{"-speed NaN", "-speed NaN: want 0.01 to 100", 2},
		{"-data d -nats localhost", "-data and -nats: want one of them, " +
			"because -data is for our own server", 2},
		{"nats://u:hunter2@localhost",
			"an address of a server goes right after -nats", 2},
		{"-replicas nats://u:hunter2@localhost",
			"an address of a server goes right after -nats", 2},
		{"-replicas 0", "-replicas 0: want 1 to 5", 2},
		{"-replicas 3", "-replicas: want -nats and a cluster", 2},
		{"-give-up 0s", "-give-up 0s: want more than 0s", 2},
		{"lessons -fast", "flag provided but not defined: -fast; " +
			"-h shows the flags", 2},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			var out bytes.Buffer
			err := run(t.Context(), strings.Fields(tt.args), &out)
			assert.Equal(t, tt.wantStatus, status(err))
			if tt.wantErr == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, tt.wantErr)
				assert.Empty(t, out.String())
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"-h"}, &out)
	assert.ErrorIs(t, err, flag.ErrHelp)
	assert.Equal(t, 0, status(err))
	assert.Contains(t, out.String(), "7.1 * the profile of a sleeper\n")
	assert.Contains(t, out.String(), "-seed SEED")
	assert.Contains(t, out.String(), "to end (default 5s)\n", "-drain")
	assert.Contains(t, out.String(), "for TIME (default 1m0s)\n", "-give-up")
}

// A command's status says whether the lesson kept its promise.
func TestBrokenPromise(t *testing.T) {
	assert.Equal(t, 1, status(errBroken))
	assert.Equal(t, 1, status(errors.New("anything else")))
}

// When another program starts ours, ours prints, and ends when its parent does.
func TestChildEndsWithItsParent(t *testing.T) {
	c := start(t)
	c.until(t, "msg=published")
	c.stdin.Close()
	status, _ := c.end()
	assert.Equal(t, 1, status)
}

func TestExitStatus(t *testing.T) {
	c := start(t, "mistake", "99")
	status, lines := c.end()
	assert.Equal(t, 2, status)
	assert.Equal(t, []string{
		`no lesson "99"; the command "lessons" lists them`,
	}, lines)
}
