package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestLesson06LeaseIsLost(t *testing.T) {
	const ms = time.Millisecond
	type sceneFunc func(context.Context, *scene, handleFunc) verdict
	tests := []struct {
		name   string
		play   sceneFunc
		handle handleFunc
		want   []string        // the broker's record
		when   []time.Duration // a restart was done
	}{
		{
			name: "mistake: it works on, and settles",
			play: loseTheLease, handle: workOn,
			want: []string{
				"100ms: delivered #1",
				"1.1s: expired #1",
				"1.1s: delivered #2",
				"1.6s: acked #2",
				"2.6s: ack refused #1: already settled",
			},
			when: []time.Duration{1600 * ms, 2600 * ms},
		},
		{
			name: "fix: it lets go",
			play: loseTheLease, handle: letGo,
			want: []string{
				"100ms: delivered #1",
				"1.1s: expired #1",
				"1.1s: delivered #2",
				"1.6s: acked #2",
			},
			when: []time.Duration{1600 * ms},
		},
		{
			name: "service: it lets go",
			play: loseTheLease, handle: handleAsService,
			want: []string{
				"100ms: delivered #1",
				"1.1s: expired #1",
				"1.1s: delivered #2",
				"1.6s: acked #2",
			},
			when: []time.Duration{1600 * ms},
		},
		{
			name: "mistake: it lets go of what is done",
			play: doneTooLate, handle: letGoOfDone,
			want: []string{
				"100ms: delivered #1",
				"1.1s: expired #1",
				"1.6s: delivered #2",
				"2.1s: acked #2",
			},
			when: []time.Duration{1600 * ms, 2100 * ms},
		},
		{
			name: "fix: it acks what is done",
			play: doneTooLate, handle: letGo,
			want: []string{
				"100ms: delivered #1",
				"1.1s: expired #1",
				"1.6s: acked #1",
			},
			when: []time.Duration{1600 * ms},
		},
		{
			name: "service: it acks what is done",
			play: doneTooLate, handle: handleAsService,
			want: []string{
				"100ms: delivered #1",
				"1.1s: expired #1",
				"1.6s: acked #1",
			},
			when: []time.Duration{1600 * ms},
		},
		{
			name: "mistake: it lets go for ever",
			play: neverInTime, handle: letGoForEver,
			want: []string{
				"100ms: delivered #1",
				"1.1s: expired #1",
				"1.1s: delivered #2",
				"2.1s: expired #2",
				"2.1s: delivered #3",
				"3.1s: expired #3",
				"3.1s: delivered #4",
				"4.1s: expired #4",
				"4.1s: delivered #5",
			},
		},
		{
			name: "fix: it is worked on three times",
			play: neverInTime, handle: letGo,
			want: []string{
				"100ms: delivered #1",
				"1.1s: expired #1",
				"1.1s: delivered #2",
				"2.1s: expired #2",
				"2.1s: delivered #3",
				"3.1s: expired #3",
				"3.1s: delivered #4",
				"3.1s: dead-lettered #4: delivered too often",
			},
		},
		{
			name: "service: it is worked on three times",
			play: neverInTime, handle: handleAsService,
			want: []string{
				"100ms: delivered #1",
				"1.1s: expired #1",
				"1.1s: delivered #2",
				"2.1s: expired #2",
				"2.1s: delivered #3",
				"3.1s: expired #3",
				"3.1s: delivered #4",
				"3.1s: dead-lettered #4: delivered too often",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s, ignore := newScene(t.Output(), 1), goleak.IgnoreCurrent()
				t.Log(tt.play(t.Context(), s, tt.handle).text)
				assert.Equal(t, tt.want, settlements(s.broker, "m1"),
					"the record")
				assert.Equal(t, fmt.Sprint(tt.when),
					fmt.Sprint(s.when("restarted")),
					"restarted at")
				assert.Empty(t, leaked(t, ignore), "left running")
			})
		})
	}
}

// settlements returns the record of a message without what happens in each row:
// the extensions that are refused.
func settlements(b *broker, id string) []string {
	return slices.DeleteFunc(b.story(id), func(line string) bool {
		return strings.Contains(line, "extend refused")
	})
}
