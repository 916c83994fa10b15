// Lesson 5.5: the test that cannot fail.
//
// A suite is green, and covers nearly everything. Would it be red if the
// service were wrong? The tests are in lesson05_cannot_fail_test.go and
// promises_test.go. Each of the diffs 05a to 05j reverts one fix of the
// service.

package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	suiteTests   = "lesson05_cannot_fail_test.go"
	promiseTests = "promises_test.go"
)

//go:embed testdata/try/05*.diff
var mutantDiffs embed.FS

// A mutant is the service without one of its fixes.
type mutant struct {
	diff string // the text of its diff
	name string // "05a"
	test string // the test in promises_test.go that finds it
}

// allMutants returns those in testdata/try, in order.
func allMutants() (list []mutant) {
	files, _ := mutantDiffs.ReadDir("testdata/try")
	for _, f := range files {
		diff, _ := mutantDiffs.ReadFile(path.Join("testdata/try", f.Name()))
		_, red, _ := strings.Cut(string(diff), "\nred: ")
		red, _, _ = strings.Cut(red, "\n")
		list = append(list, mutant{string(diff),
			strings.TrimSuffix(f.Name(), ".diff"), red})
	}
	return list
}

// found are the mutants that the suite of the mistake finds.
var found = []string{"05c", "05e"}

// survivors returns the others.
func survivors() (list []mutant) {
	for _, m := range allMutants() {
		if !slices.Contains(found, m.name) {
			list = append(list, m)
		}
	}
	return list
}

// apply changes files, which are given by name, as the diff says.
func (m mutant) apply(files map[string]string) error {
	_, diff, _ := strings.Cut(m.diff, "\n+++ ")
	name, hunks, _ := strings.Cut(diff, "\n")
	name = path.Base(name)
	if files[name] == "" {
		source, err := sources.ReadFile(name)
		if err != nil {
			return err
		}
		files[name] = string(source)
	}
	for _, hunk := range strings.Split("\n"+hunks, "\n@@ ")[1:] {
		_, hunk, _ = strings.Cut(hunk, "\n")
		var before, after strings.Builder
		for line := range strings.Lines(hunk) {
			if line[0] != '+' {
				before.WriteString(line[1:])
			}
			if line[0] != '-' {
				after.WriteString(line[1:])
			}
		}
		if strings.Count(files[name], before.String()) != 1 {
			return fmt.Errorf("%s.diff does not apply: is a diff to try "+
				"still applied? git apply -R takes it back", m.name)
		}
		files[name] = strings.Replace(
			files[name], before.String(), after.String(), 1)
	}
	return nil
}

// buildMutated builds the test binary of this chapter with these mutants in the
// service, in dir, and returns its path. The files themselves don't change.
func buildMutated(dir string, list []mutant) (path string, err error) {
	files := make(map[string]string)
	for _, m := range list {
		if err := m.apply(files); err != nil {
			return "", err
		}
	}
	out, err := exec.Command(
		"go", "list", "-f", "{{.Dir}}", ourPackage()).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go list: %w\n%s", err, out)
	}
	overlay := make(map[string]string)
	for name, text := range files {
		changed := filepath.Join(dir, name)
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay[filepath.Join(strings.TrimSpace(string(out)), name)] = changed
	}
	b, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return "", err
	}
	return build(dir, "test", "-c", "-overlay", file, ourPackage())
}

// withSurvivors returns a run of tests on the service with all mutants that the
// suite of the mistake doesn't find.
func withSurvivors(file, names string) sceneRun {
	r := tests(file, names,
		child{verdict: mustFindSurvivors, shows: resultsOnly})
	const apply = "git apply part5-testing/testdata/try/05[abdfghij].diff"
	r.child.same = apply + "\n$ " + r.child.same + "\n$ " +
		strings.Replace(apply, "apply", "apply -R", 1)
	r.child.binary = mutatedTests.path
	return r
}

// mustFindSurvivors is the verdict on a suite that should be red, because fixes
// are missing.
func mustFindSurvivors(endings []ending) verdict {
	red, green, _ := endings[0].results()
	return verdict{
		text: fmt.Sprintf("%d fixes taken out, %d of %d tests red",
			len(survivors()), len(red), len(red)+len(green)),
		failed: len(red) == 0,
	}
}

var lesson05 = lesson{
	number: 5, title: "the test that cannot fail",
	watch: "how many tests are red when fixes are taken out of the service",
	mistakes: []sceneRun{
		withSurvivors(suiteTests, "TestMistake05"),
	},
	fix: []sceneRun{
		withSurvivors(promiseTests, "TestFix05"),
		tests(promiseTests, "TestFix05",
			child{verdict: mustBeGreen, shows: resultsOnly}),
	},
}
