// Lesson 5.2: what a test leaves behind.
//
// A default logger, a goroutine: the next test has to live with what one leaves
// behind. The tests are in lesson02_left_behind_test.go.

package main

import (
	"fmt"
	"regexp"
)

const leftTests = "lesson02_left_behind_test.go"

// leakFound is what goleak prints before the stacks.
const leakFound = "found unexpected goroutines"

// mustLeaveNothing is the verdict on tests that have to be green and leave no
// goroutine behind: goleak looks when the last one has ended.
func mustLeaveNothing(endings []ending) verdict {
	e := endings[0]
	left := regexp.MustCompile(`Goroutine \d+ in state`).
		FindAllString(e.printed, -1)
	text := fmt.Sprintf("%s, goroutines left: %d", e.colour(), len(left))
	return verdict{text, !e.isGreen()}
}

var lesson02 = lesson{
	number: 2, title: "what a test leaves behind",
	watch: "which test is red, and whether the fault is in that test",
	mistakes: []sceneRun{
		tests(leftTests, "TestMistake02Quiet|TestMistake02Logs",
			child{verdict: mustBeGreen}),
		tests(leftTests, "TestMistake02Short|TestMistake02Long",
			child{verdict: mustBeGreen, alone: true, cutAt: leakFound}),
		tests(leftTests, "TestMistake02Forgets", child{
			verdict: mustLeaveNothing, cutAt: leakFound}),
		tests(leftTests, "TestMistake02Cleanup", child{verdict: mustBeGreen}),
	},
	fix: []sceneRun{
		tests(leftTests, "TestFix02Quiet|TestFix02Logs",
			child{verdict: mustBeGreen}),
		tests(leftTests, "TestFix02Short|TestFix02Long",
			child{verdict: mustBeGreen, alone: true}),
		tests(leftTests, "TestFix02Stops", child{
			verdict: mustLeaveNothing}),
		tests(leftTests, "TestFix02Cleanup", child{verdict: mustBeGreen}),
	},
}
