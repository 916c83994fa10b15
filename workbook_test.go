// Package workbook_test checks what spans the chapters: that none of them
// breaks a promise of the README.
package workbook_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The kit is the same file in every chapter.
var kit = []string{"kit.go", "kit_child.go", "kit_test.go"}

func chapters(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("part*-*")
	require.NoError(t, err)
	require.NotEmpty(t, dirs)
	return dirs
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return string(b)
}

// A chapter stands alone: in a module of its own it builds, and so do its
// tests. It imports nothing that a reader would not have there.
func TestChaptersStandAlone(t *testing.T) {
	for _, chapter := range chapters(t) {
		t.Run(chapter, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(chapter)))
			mod := regexp.MustCompile(`(?m)^module .*`).
				ReplaceAllString(read(t, "go.mod"), "module alone")
			for name, text := range map[string]string{
				"go.mod": mod, "go.sum": read(t, "go.sum"),
			} {
				path := filepath.Join(dir, name)
				require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
			}
			cmd := exec.Command("go", "vet", "./...")
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, string(out))
		})
	}
}

func TestKitIsTheSame(t *testing.T) {
	all := chapters(t)
	for _, name := range kit {
		for _, chapter := range all[1:] {
			assert.Equal(t, read(t, all[0], name), read(t, chapter, name),
				"%s differs between %s and %s", name, all[0], chapter)
		}
	}
}

// What a chapter does not change is the same file, so that a diff between two
// chapters shows what is new.
func TestWhatStaysIsTheSame(t *testing.T) {
	const part0, part1 = "part0-setup", "part1-concurrency"
	const part2, part3 = "part2-shutdown", "part3-errors"
	const part4, part5 = "part4-sync-and-threads", "part5-testing"
	const part6, part7 = "part6-debugging", "part7-profiling"
	for name, same := range map[string][]string{
		"message.go":           {part0, part1, part2, part3},
		"memory.go":            {part1, part2, part3},
		"broker_test.go":       {part1, part2, part3, part4, part5, part6},
		"broker.go":            {part1, part2},
		"lease.go":             {part1, part2},
		"publisher.go":         {part2, part3},
		"inflight.go":          {part2, part3, part4, part5},
		"stop.go":              {part2, part3, part4, part5, part6},
		"signals.go":           {part2, part3, part4, part5, part6, part7},
		"signals_test.go":      {part2, part3, part4, part5, part6, part7},
		"signals_unix_test.go": {part2, part3, part4},
		"attempt.go":           {part3, part4, part5, part6},
		"bench_unix_test.go":   {part3, part4},
		"errors.go":            {part3, part4, part5, part6, part7},
		"hosts.go":             {part3, part4, part5, part6, part7},
		"ledger.go":            {part3, part4, part5, part6, part7},
		"mandrill_test.go":     {part3, part4, part5, part6},
		"policy.go":            {part3, part4, part5, part6, part7},
		"policy_test.go":       {part3, part4, part5, part6},
		"properties_test.go":   {part3, part4, part5, part6},
		"receive.go":           {part3, part4, part5, part6},
		"settle.go":            {part3, part4, part5, part6},
	} {
		for _, chapter := range same[1:] {
			assert.Equal(t, read(t, same[0], name), read(t, chapter, name),
				"%s differs between %s and %s", name, same[0], chapter)
		}
	}
	// Part 5 has the service of part 4.
	for _, name := range []string{
		"broker.go", "bucket.go", "failures.go", "jetstream.go", "json.go",
		"lease.go", "loan.go", "mandrill.go", "memory_test.go", "message.go",
		"publisher.go", "server.go", "setup.go", "stuck.go", "stuck_test.go",
	} {
		assert.Equal(t, read(t, part4, name), read(t, part5, name), name)
		if !slices.Contains([]string{"mandrill.go", "stuck.go"}, name) {
			assert.Equal(t, read(t, part5, name), read(t, part6, name), name)
		}
	}
	// Part 7 changes nothing of what the broker keeps.
	for _, name := range []string{
		"bucket.go", "failures.go", "inflight.go", "json.go", "loan.go",
		"message.go", "publisher.go", "server.go", "setup.go", "stuck.go",
		"stuck_test.go", "stuck_unix_test.go",
	} {
		assert.Equal(t, read(t, part6, name), read(t, part7, name), name)
	}
	// From part 4 on the teaching broker is only for the tests.
	assert.Equal(t, read(t, part3, "lease.go"), read(t, part4, "lease.go"))
	assert.Equal(t, read(t, part3, "memory.go"),
		read(t, part4, "memory_test.go"), "the teaching broker")
}

// The headings of a lesson's text, in order.
var ritual = []string{"### The mistake", "### What happens", "### Why",
	"### The fix", "### Now", "### The test", "### Try it",
	"### Seen from outside"}

// An optional lesson has three of them.
var optional = []string{"### The mistake", "### Why", "### The fix"}

// Every lesson is there in code, test, text, recorded outputs, in the list of
// its chapter and in the index of the README.
func TestLessonsAreComplete(t *testing.T) {
	for _, chapter := range chapters(t) {
		t.Run(chapter, func(t *testing.T) {
			part := strings.TrimPrefix(chapter[:len("partN")], "part")
			main := read(t, chapter, "main.go")
			text := read(t, chapter, "README.md")
			list := regexp.MustCompile(`(?s)lessons = \[\]lesson{(.*?)}`).
				FindStringSubmatch(main)
			require.NotNil(t, list)
			listed := regexp.MustCompile(`lesson\d\d`).
				FindAllString(list[1], -1)

			files, err := filepath.Glob(
				filepath.Join(chapter, "lesson??_*.go"))
			require.NoError(t, err)
			var code []string
			for _, path := range files {
				if !strings.HasSuffix(path, "_test.go") {
					code = append(code, filepath.Base(path)[:len("lessonNN")])
				}
			}
			assert.Equal(t, code, listed)

			assert.True(t, slices.IsSorted(listed), "%v", listed)
			for _, name := range listed {
				number := strings.TrimPrefix(name, "lesson")
				short := strings.TrimPrefix(number, "0")

				tests, err := filepath.Glob(
					filepath.Join(chapter, name+"_*_test.go"))
				require.NoError(t, err)
				require.Len(t, tests, 1, name)
				assert.Contains(t, read(t, tests[0]),
					"func TestLesson"+number)

				for _, says := range []string{
					fmt.Sprintf("\n## %s. ", short),
					fmt.Sprintf("go run ./%s mistake %s", chapter, short),
					fmt.Sprintf("go run ./%s fix %s", chapter, short),
					fmt.Sprintf("go test -v -run Lesson%s ./%s",
						number, chapter),
					fmt.Sprintf("(testdata/%s-mistake.txt text", name),
					fmt.Sprintf("(testdata/%s-fix.txt text", name),
				} {
					assert.True(t, strings.Contains(text, says), says)
				}
				_, section, _ := strings.Cut(text, "\n## "+short+". ")
				section, _, _ = strings.Cut(section, "\n## ")
				headings := ritual
				if title, _, _ := strings.Cut(section, "\n"); strings.HasSuffix(
					title, " (optional)") {
					headings = optional
				}
				assert.Equal(t, headings, regexp.MustCompile(`(?m)^### .*`).
					FindAllString(section, -1), "lesson %s", short)
				assert.Regexp(t, `(?m)^### Why\n\n\*\*`, section,
					"lesson %s: the sentence for the whiteboard", short)

				index := fmt.Sprintf("[%s.%s](%s/README.md#",
					part, short, chapter)
				assert.True(t, strings.Contains(read(t, "README.md"), index),
					"the index has no %s", index)

				diffs, err := filepath.Glob(filepath.Join(
					chapter, "testdata", "try", number+"?.diff"))
				require.NoError(t, err)
				assert.NotEmpty(t, diffs, "lesson %s has no diff to try", short)
				for _, path := range diffs {
					question, _, _ := strings.Cut(read(t, path), "\n")
					asks := "`" + filepath.Base(path) + "`: " + question
					assert.True(t, strings.Contains(
						strings.Join(strings.Fields(text), " "), asks), asks)
				}

				mistake := read(t, chapter, "testdata", name+"-mistake.txt")
				fix := read(t, chapter, "testdata", name+"-fix.txt")
				assert.NotEqual(t, mistake, fix)
				for side, out := range map[string]string{
					"mistake": mistake, "fix": fix,
				} {
					verdict := fmt.Sprintf(`\n%s %s\.%s: .*\n$`,
						side, part, short)
					assert.Regexp(t, verdict, "\n"+out)
				}
			}
		})
	}
}

// Each test that the kit's page names is where the page says.
func TestKitPage(t *testing.T) {
	const part5 = "part5-testing"
	links := regexp.MustCompile("\\[`(Test\\w+)`\\]\\(([^)]+)\\)").
		FindAllStringSubmatch(read(t, part5, "KIT.md"), -1)
	assert.Greater(t, len(links), 15)
	for _, m := range links {
		assert.Contains(t, read(t, part5, m[2]), "\nfunc "+m[1]+"(t ")
	}
}

// What goes on a wall is at most 80 columns wide, with tabs of four: code,
// recorded outputs, blocks in the texts.
func TestFitsTheWall(t *testing.T) {
	var paths []string
	for _, pattern := range []string{
		"*.go", "*/*.go", "*/testdata/*.txt", "*.md", "*/*.md",
	} {
		more, err := filepath.Glob(pattern)
		require.NoError(t, err)
		paths = append(paths, more...)
	}
	link := regexp.MustCompile(`^\||\]\(|^\[embedmd\]|https?://`)
	for _, path := range paths {
		for i, line := range strings.Split(read(t, path), "\n") {
			if strings.HasSuffix(path, ".md") && link.MatchString(line) {
				continue // a table or a link can't be broken
			}
			line = strings.ReplaceAll(line, "\t", "    ")
			width := utf8.RuneCountInString(line)
			assert.LessOrEqual(t, width, 80, "%s:%d", path, i+1)
		}
	}
}

// Links inside the workbook lead somewhere.
func TestLinks(t *testing.T) {
	texts, err := filepath.Glob("*/*.md")
	require.NoError(t, err)
	anchor := func(heading string) string {
		heading = strings.ToLower(strings.TrimSpace(heading))
		heading = regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(heading, "")
		return strings.ReplaceAll(heading, " ", "-")
	}
	blocks := regexp.MustCompile("(?ms)^```.*?^```$")
	for _, path := range append(texts, "README.md") {
		text := blocks.ReplaceAllString(read(t, path), "")
		for _, m := range regexp.MustCompile(`\]\(([^):]+)\)`).
			FindAllStringSubmatch(text, -1) {
			file, section, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if !assert.FileExists(t, target, path) || section == "" {
				continue
			}
			var anchors []string
			for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).
				FindAllStringSubmatch(read(t, target), -1) {
				anchors = append(anchors, anchor(h[1]))
			}
			assert.Contains(t, anchors, section, "%s: %s", path, m[1])
		}
	}
}
