//go:build unix

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Stopped while it works, the program says each stage in a line, accounts for
// every message in the last one, is back within its budget, and tells by its
// status which stages were needed.
func TestShutdownForReal(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		args       []string
		wantStatus int
		budget     time.Duration // the drain and the grace
		wantStages []string
	}{
		{"all ends in time", nil, 0, 6 * time.Second,
			[]string{"stopping", "drained", "ended"}},
		{"some is cancelled", []string{"-drain", "1ms"}, 3, time.Second,
			[]string{"stopping", "cancelling", "ended"}},
		{"some ignores that", []string{"-drain", "1ms", "-stuck", "1"}, 1,
			time.Second,
			[]string{"stopping", "cancelling", "abandoning", "ended"}},
	}
	stage := regexp.MustCompile(
		`msg=(stopping|drained|cancelling|abandoning|ended)\b`)
	for _, sig := range []syscall.Signal{syscall.SIGTERM} {
		for _, tt := range tests {
			t.Run(tt.name+", "+sig.String(), func(t *testing.T) {
				t.Parallel()
				p := start(t, tt.args...)
				for range 5 { // at work: no restart takes that little
					p.until(t, "msg=delivered")
				}
				signalled := time.Now()
				require.NoError(t, p.Process.Signal(sig))
				status, lines := p.end()
				assert.Equal(t, tt.wantStatus, status, "exit status")
				assert.Less(t, time.Since(signalled),
					tt.budget+20*time.Second) // on a busy machine
				assertAddsUp(t, strings.Join(lines, "\n"))
				var stages []string
				for _, line := range lines {
					if m := stage.FindStringSubmatch(line); m != nil {
						stages = append(stages, m[1])
					}
				}
				assert.Equal(t, tt.wantStages, stages)
			})
		}
	}
}

// assertAddsUp checks the last line: what was published is the sum of the rest,
// and there was some.
func assertAddsUp(t *testing.T, out string) {
	t.Helper()
	_, last, ok := strings.Cut(out, "msg=ended ")
	require.True(t, ok, out)
	last, _, _ = strings.Cut(last, "\n")
	var counts []int
	for _, m := range regexp.MustCompile(`=(\d+)`).
		FindAllStringSubmatch(last, -1) {
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		counts = append(counts, n)
	}
	sum := 0
	for _, n := range counts[1:] {
		sum += n
	}
	assert.GreaterOrEqual(t, counts[0], 2, "published")
	assert.Equal(t, counts[0], sum, last)
}

// After the line that says so, a second signal ends the program at once,
// whatever it is waiting for: ten times out of ten.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	var all []*process
	for range 10 {
		all = append(all, start(t, "-stuck", "1", "-drain", "1h"))
	}
	for _, p := range all {
		p.until(t, "msg=saved") // m1 is in progress, and its restart hangs
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	}
	killed := 0
	for _, p := range all {
		p.until(t, "a second signal kills")
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		p.end()
		if p.ProcessState.String() == "signal: terminated" {
			killed++
		}
	}
	assert.Equal(t, 10, killed, "killed by the second signal")
}

// A request to stop that arrives twice at once is one request. STOP keeps the
// program from hearing the first before the second is there.
func TestEchoForReal(t *testing.T) {
	t.Parallel()
	var all []*process
	for range 10 {
		all = append(all, start(t, "-drain", "300ms"))
	}
	for _, p := range all {
		p.until(t, "msg=delivered")
		for _, sig := range []syscall.Signal{
			syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCONT,
		} {
			require.NoError(t, p.Process.Signal(sig))
		}
	}
	for _, p := range all {
		status, lines := p.end()
		assert.Contains(t, []int{0, 3}, status, "drained or forced: %v", lines)
	}
}

// As PID 1, in a container without an init, the kernel does not let a signal
// kill the program. The first one still drains it. After the second, Go
// finds that it is still alive, and exits with 2.
func TestPID1(t *testing.T) {
	t.Parallel()
	path, _, err := program(false)
	require.NoError(t, err)
	unshare := []string{"--pid", "--fork", "--kill-child", "--user",
		"--map-root-user"}
	if os.Geteuid() == 0 {
		unshare = unshare[:3]
	}
	if out, err := exec.Command("unshare",
		slices.Concat(unshare, []string{"true"})...).
		CombinedOutput(); err != nil {
		t.Skipf("unshare --pid is not allowed here: %v: %s", err, out)
	}
	for _, tt := range []struct {
		name       string
		args       []string
		twice      bool
		wantStatus int
	}{
		{"drained", nil, false, 0},
		{"a second signal", []string{"-stuck", "1", "-drain", "1h"}, true, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := slices.Concat(unshare, []string{path}, tt.args)
			p := startCommand(t, exec.Command("unshare", args...))
			p.until(t, "msg=saved")
			pid1 := childOf(t, p.Process.Pid)
			require.NoError(t, syscall.Kill(pid1, syscall.SIGTERM))
			if tt.twice {
				p.until(t, "a second signal kills")
				require.NoError(t, syscall.Kill(pid1, syscall.SIGTERM))
			}
			status, lines := p.end()
			assert.Equal(t, tt.wantStatus, status, "exit status: %v", lines)
		})
	}
}

// childOf returns the one child of a process.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	out, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" +
		strconv.Itoa(pid) + "/children")
	require.NoError(t, err)
	child, err := strconv.Atoi(strings.TrimSpace(string(out)))
	require.NoError(t, err)
	return child
}

// A reader that goes away, as in | head -1, kills the program at its next line.
// A full disk does not: the status is 1 in the end. In the place of a closed
// stdout, Go opens /dev/null.
func TestStdoutForReal(t *testing.T) {
	t.Parallel()
	path, _, err := program(false)
	require.NoError(t, err)
	for _, tt := range []struct {
		name, shell string
		wantStatus  int
	}{
		{"no reader", `"$0" -n 1 -seed 8 | head -n 1`,
			128 + int(syscall.SIGPIPE)},
		{"the disk is full", `exec "$0" -n 1 -seed 8 >/dev/full`, 1},
		{"closed", `exec "$0" -n 1 -seed 8 >&-`, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat("/dev/full"); err != nil {
				t.Skip("there is no /dev/full here")
			}
			p := startCommand(t,
				exec.Command("bash", "-c", "set -o pipefail; "+tt.shell, path))
			status, lines := p.end()
			assert.Equal(t, tt.wantStatus, status, "exit status: %v", lines)
		})
	}
}

// A log without a reader holds up nobody: the service drains, waits a second
// for its last lines, and exits with status 1.
func TestLogBlocksForReal(t *testing.T) {
	t.Parallel()
	path, _, err := program(false)
	require.NoError(t, err)
	fifo := filepath.Join(t.TempDir(), "log")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	log, err := os.OpenFile(fifo, os.O_RDWR, 0)
	require.NoError(t, err)
	defer log.Close()
	stderr, w, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(path, "-drain", "100ms")
	cmd.Env = append(os.Environ(), childEnv+"=yes")
	cmd.Stdout, cmd.Stderr = log, w
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	w.Close()
	defer stdin.Close()

	lines := bufio.NewReader(log)
	for line := ""; !strings.Contains(line, "msg=saved"); {
		line, err = lines.ReadString('\n')
		require.NoError(t, err)
	}
	// From here on there is no reader, and we fill the rest of the pipe.
	full, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	defer full.Close()
	for _, size := range []int{4096, 1} { // no byte is left free
		require.NoError(t, full.SetWriteDeadline(
			time.Now().Add(time.Second/5)))
		for err = nil; err == nil; {
			_, err = full.Write(make([]byte, size))
		}
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	said, err := io.ReadAll(stderr)
	require.NoError(t, err)
	cmd.Wait()
	assert.True(t, strings.HasSuffix(string(said), errNotFlushed.Error()+"\n"),
		"%s", said)
	assert.NotContains(t, string(said), errOverdue.Error(), "it has drained")
	assert.Equal(t, 1, cmd.ProcessState.ExitCode(), "exit status")
}
