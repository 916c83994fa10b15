// Lesson 5.6: the fake that is too kind.
//
// A test with a fake can only find the mistakes that the fake refuses. The
// tests are in lesson06_too_kind_test.go.

package main

const kindTests = "lesson06_too_kind_test.go"

var lesson06 = lesson{
	number: 6, core: true, title: "the fake that is too kind",
	watch: "what each fake says to a context that has ended",
	mistakes: []sceneRun{
		tests(kindTests, "TestMistake06KindQueue",
			child{verdict: mustBeRed}, "-bug", "deadContext"),
	},
	fix: []sceneRun{
		tests(kindTests, "TestFix06StrictBroker",
			child{verdict: mustBeRed}, "-bug", "deadContext"),
		tests(kindTests, "TestFix06StrictBroker", child{verdict: mustBeGreen}),
		tests(kindTests, "TestFix06Contract",
			child{verdict: mustBeRed}, "-bug", "kindQueue"),
		tests(kindTests, "TestFix06Contract",
			child{verdict: mustBeGreen, shows: resultsOnly}),
	},
}
