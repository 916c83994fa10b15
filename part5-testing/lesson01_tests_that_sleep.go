// Lesson 5.1: tests that sleep.
//
// How long does a test wait for the service, and what does it wait for? The
// tests are in lesson01_tests_that_sleep_test.go.

package main

const sleepTests = "lesson01_tests_that_sleep_test.go"

// twentySeeds runs a test twenty times, each time in a process of its own and
// with a seed of its own.
var twentySeeds = child{runs: 20, verdict: oftenRed}

var lesson01 = lesson{
	number: 1, core: true, title: "tests that sleep",
	watch: "seed 2, and then for how many of twenty seeds a test is red",
	mistakes: []sceneRun{
		tests(sleepTests, "TestMistake01Sleeps",
			child{verdict: mustBeGreen}, "-seed", "2"),
		tests(sleepTests, "TestMistake01Sleeps", twentySeeds),
	},
	fix: []sceneRun{
		tests(sleepTests, "TestFix01WhateverTheSeed",
			child{verdict: mustBeGreen}, "-seed", "2"),
		tests(sleepTests, "TestFix01WhateverTheSeed", twentySeeds),
		tests(sleepTests, "TestFix01ToTheInstant", child{verdict: mustBeGreen}),
	},
}
