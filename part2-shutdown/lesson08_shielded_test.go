package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLesson08Shielded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		side        string
		run         int
		wantWritten int
	}{
		{
			name: "mistake: shielded, not waited for", side: "mistake", run: 0,
			wantWritten: 0,
		},
		{
			name: "mistake: waited for, and cancelled", side: "mistake", run: 1,
			wantWritten: 0,
		},
		{
			name: "fix: shielded, and waited for", side: "fix",
			wantWritten: 1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := watchRun(t, lesson08, tt.side, tt.run)[0]
			// All of them say the same, and exit with the same status.
			assert.Equal(t, 0, e.code, "exit status")
			assert.Contains(t, e.printed, `msg="successfully shut down"`)
			assert.Equal(t, tt.wantWritten,
				strings.Count(e.printed, "msg=written"), "records written")
		})
	}
}

// A write that fails, or takes too long, is an error, so the status is not 0.
func TestLesson08NotWritten(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name  string
		audit auditFunc
		takes time.Duration
		fails error
		want  error
		took  time.Duration
	}{
		{"mistake: a long write is not waited for", shieldOnly,
			10 * time.Second, nil, nil, 200 * ms},
		{"mistake: a long write is cancelled", shareTheCancel,
			10 * time.Second, nil, nil, 200 * ms},
		{"fix: a long write is waited for, but not without end", shieldAndWait,
			10 * time.Second, nil, errNotWritten, 2200 * ms},
		{"mistake: that a write fails is not heard", shieldOnly,
			600 * ms, errDiskFull, nil, 200 * ms},
		{"fix: that a write fails is heard", shieldAndWait,
			600 * ms, errDiskFull, errDiskFull, 600 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				err := auditFor(t.Context(), s, tt.audit, tt.takes, tt.fails)
				t.Log("returned:", err)
				assert.Equal(t, tt.want, err, "what it returned")
				assert.Equal(t, tt.took, time.Since(s.start), "took")
				time.Sleep(time.Minute) // the write ends
			})
		})
	}
	assert.Equal(t, 1, status(errNotWritten), "exit status")
}
