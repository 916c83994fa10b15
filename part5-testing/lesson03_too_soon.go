// Lesson 5.3: asserting too soon.
//
// When is the service done, and in what order did it do things? The tests are
// in lesson03_too_soon_test.go.

package main

const soonTests = "lesson03_too_soon_test.go"

var lesson03 = lesson{
	number: 3, title: "asserting too soon",
	watch: "when each test checks the result, and what it finds",
	mistakes: []sceneRun{
		tests(soonTests, "TestMistake03AtOnce", child{verdict: mustBeGreen}),
		tests(soonTests, "TestMistake03InNoTime",
			child{verdict: mustBeRed}, "-bug", "acksOnReceipt"),
	},
	fix: []sceneRun{
		tests(soonTests, "TestFix03Waits", child{verdict: mustBeGreen}),
		tests(soonTests, "TestFix03TakesItsTime",
			child{verdict: mustBeRed}, "-bug", "acksOnReceipt"),
		tests(soonTests, "TestFix03TakesItsTime", child{verdict: mustBeGreen}),
	},
}
