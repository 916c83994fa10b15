package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestLesson09Budget(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows can't send these signals")
	}
	t.Parallel()
	tests := []struct {
		name        string
		side        string
		wantHow     string
		wantSettled int
	}{
		{
			name: "mistake: killed in the drain", side: "mistake",
			wantHow:     "signal: killed",
			wantSettled: 0,
		},
		{
			name: "fix: forced, in time", side: "fix",
			wantHow:     "exit status 3",
			wantSettled: 2,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := watchRun(t, lesson09, tt.side, 0)[0]
			assert.Equal(t, tt.wantHow, e.how, "how it ended")
			assert.Equal(t, 2, strings.Count(e.printed, "msg=restarting"),
				"restarts begun")
			assert.Equal(t, tt.wantSettled,
				strings.Count(e.printed, "msg=settled"), "settled")
		})
	}
}

// How long Run takes to return after the signal, if the work ends with its
// context or hangs, and if the broker does not answer or answers late. The
// patience is three seconds. (How long a poll may take depends on the lease
// only, so it is the same in both rows.)
func TestLesson09Stages(t *testing.T) {
	const ms = time.Millisecond
	type after struct{ Ends, Hangs, NoAnswer, LateAnswer time.Duration }
	tests := []struct {
		name   string
		stages stagesFunc
		want   after

		wantLong time.Duration // drain and grace, if they wait for 30s
	}{
		{
			name: "mistake: the supervisor waits less", stages: asLongAsItTakes,
			want:     after{5000 * ms, 6000 * ms, 2400 * ms, 2800 * ms},
			wantLong: 6 * time.Second,
		},
		{
			name:     "fix: all stages fit",
			stages:   withinThePatience,
			want:     after{1500 * ms, 2000 * ms, 2400 * ms, 2550 * ms},
			wantLong: 20 * time.Second,
		},
	}
	for _, tt := range tests {
		stop := func(
			t *testing.T, messages int, restart workFunc,
			set func(b *broker),
		) (after time.Duration) {
			inBubble(t, func(t *testing.T) {
				s := newScene(t.Output(), 1)
				b := newBroker(s.log, 2*time.Second, 2)
				publishOnly(t, b, messages)
				set(b)
				m := newMandrill(b, func(m *Mandrill) {
					m.restart, m.slots = restart, 2
					m.drain, m.grace = tt.stages(patience)
				})
				err := runUntil(t, m, time.Millisecond)
				after = time.Since(s.start) - time.Millisecond
				t.Logf("^ returned after %v: %v", after, err)
				time.Sleep(time.Minute) // work that hangs ends, too
			})
			return after.Round(10 * ms)
		}
		t.Run(tt.name, func(t *testing.T) {
			got := after{
				Ends:  stop(t, 2, takes(time.Minute), func(*broker) {}),
				Hangs: stop(t, 2, ignoring(time.Minute), func(*broker) {}),
				NoAnswer: stop(t, 1, nothing, func(b *broker) {
					b.slow = map[string]time.Duration{"receive": time.Hour}
				}),
				LateAnswer: stop(t, 1, nothing, func(b *broker) {
					b.slow = map[string]time.Duration{
						"receive": 2300 * ms, "nack": time.Hour,
					}
				}),
			}
			assert.Equal(t, fmt.Sprintf("%+v", tt.want),
				fmt.Sprintf("%+v", got), "returned after")
			drain, grace := tt.stages(10 * patience)
			assert.Equal(t, tt.wantLong, drain+grace, "of half a minute")
		})
	}
}

// What a kill means for the messages. Two replicas share a broker. The first is
// stopped after half a second, and silent three seconds later: it was killed,
// unless it had ended by then.
func TestLesson09Replicas(t *testing.T) {
	tests := []struct {
		name   string
		stages stagesFunc
		want   []string
	}{
		{
			name:   "mistake: the other replica waits for the leases",
			stages: asLongAsItTakes,
			want: []string{
				"0s: delivered #1",
				"800ms: extended #1",
				"1.6s: extended #1",
				"2.4s: extended #1",
				"3.2s: extended #1",
				"5.2s: expired #1",
				"5.2s: delivered #2",
			},
		},
		{
			name:   "fix: the other replica has them at once",
			stages: withinThePatience,
			want: []string{
				"0s: delivered #1",
				"800ms: extended #1",
				"1.6s: extended #1",
				"2s: nacked #1",
				"2s: delivered #2",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				b := newBroker(s.log, 2*time.Second, 1)
				publishOnly(t, b, 1)
				first := &replica{queue: b}
				ended := make(chan error, 1)
				go func() {
					m := newMandrill(b, func(m *Mandrill) {
						m.queue, m.restart = first, takes(10*time.Second)
						m.drain, m.grace = tt.stages(patience)
					})
					ended <- runUntil(t, m, time.Second/2)
				}()
				time.AfterFunc(time.Second/2+patience, func() {
					first.silent.Store(true)
				})
				time.Sleep(time.Second) // the second one starts
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				d, err := b.Receive(ctx, time.Minute)
				require.NoError(t, err)
				assert.Equal(t, tt.want, b.story("m1"))
				assert.NoError(t, d.Ack(ctx))
				t.Log("the first returned:", <-ended)
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}
