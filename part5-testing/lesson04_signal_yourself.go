// Lesson 5.4: signalling yourself.
//
// A signal goes to a whole process. A test that signals itself hits its own.
// The tests are in lesson04_signal_yourself_test.go, and need Unix.

package main

const signalTests = "lesson04_signal_yourself_test.go"

var lesson04 = lesson{
	number: 4, title: "signalling yourself",
	watch: "which process gets the signal, and which one the test looks at",
	mistakes: []sceneRun{
		tests(signalTests, "TestMistake04KillsItself",
			child{verdict: mustBeGreen, only: "unix"}, "-setup", "1s"),
		tests(signalTests, "TestMistake04HearsItself",
			child{verdict: mustBeRed, only: "unix"}, "-bug", "deaf"),
	},
	fix: []sceneRun{
		tests(signalTests, "TestFix04StartsTheProgram",
			child{verdict: mustBeGreen, only: "unix"}),
	},
}
