// Lesson 5.7: the case nobody thought of.
//
// Tests that are written by hand cover only the cases that we have thought of.
// The tests are in lesson07_twelve_cases_test.go.

package main

import "regexp"

const shutdownTests = "lesson07_twelve_cases_test.go"

// forSeeds matches what a test that tries a thousand seeds says in the end.
var forSeeds = regexp.MustCompile(`red for (\d+ of \d+ seeds)`)

// mustFindTheBug is the verdict on tests that have to be red, because the
// service has a bug. It says for how many seeds they are.
func mustFindTheBug(endings []ending) verdict {
	v := mustBeRed(endings)
	if m := forSeeds.FindStringSubmatch(endings[0].printed); m != nil {
		v.text += ": " + m[1]
	}
	return v
}

var lesson07 = lesson{
	number: 7, title: "the case nobody thought of",
	watch: "which tests find the bug, and for how many of a thousand seeds",
	mistakes: []sceneRun{
		tests(shutdownTests, "TestMistake07TwelveCases",
			child{verdict: mustFindTheBug}, "-bug", "forgetsDoubts"),
		tests(shutdownTests, "TestMistake07OneSide",
			child{verdict: mustFindTheBug}, "-bug", "forgetsDoubts"),
		tests(shutdownTests, "TestMistake07TooEarly",
			child{verdict: mustFindTheBug}, "-bug", "forgetsDoubts"),
	},
	fix: []sceneRun{
		tests(shutdownTests, "TestFix07TwoSides",
			child{verdict: mustFindTheBug}, "-bug", "forgetsDoubts"),
		tests(shutdownTests, "TestFix07Smallest",
			child{verdict: mustFindTheBug}, "-bug", "forgetsDoubts"),
		tests(shutdownTests, "TestFix07TwoSides", child{verdict: mustBeGreen}),
		tests(shutdownTests, "TestFix07Smallest", child{verdict: mustBeGreen}),
	},
}
