// Timeline draws the recorded outputs of a lesson: its mistake above its fix,
// on one scale, as text of 80 columns and as a picture. Without arguments it
// draws the lessons below anew; with -d it reports those that would change.
// With - it draws what it reads, as text:
//
//	go run ./part1-concurrency mistake 6 | go run ./.ci/timeline -
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A drawing says which runs of a lesson are drawn: all of them, or those with
// that number. Runs that have no times are drawn as their verdict.
type drawing struct {
	chapter string
	lesson  int
	mistake []int
	fix     []int
}

var drawings = []drawing{
	{"part0-setup", 1, nil, nil},
	{"part1-concurrency", 1, nil, nil},
	{"part1-concurrency", 2, []int{0}, []int{0}},
	{"part1-concurrency", 4, nil, nil},
	{"part1-concurrency", 5, nil, []int{0}},
	{"part1-concurrency", 6, nil, nil},
	{"part1-concurrency", 7, []int{0}, []int{0}},
	{"part1-concurrency", 8, []int{1}, []int{0}},
	{"part2-shutdown", 3, []int{0}, []int{0}},
	{"part2-shutdown", 4, nil, nil},
	{"part2-shutdown", 5, nil, nil},
	{"part2-shutdown", 6, nil, nil},
	{"part3-errors", 2, nil, nil},
	{"part3-errors", 3, []int{1, 2}, []int{0, 1, 2}},
	{"part3-errors", 5, nil, nil},
	{"part3-errors", 6, []int{0, 1}, []int{0, 1}},
	{"part3-errors", 8, nil, nil},
}

func main() {
	compare := flag.Bool("d", false, "report what would change, write nothing")
	flag.Parse()
	if err := run(*compare, flag.Args(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(compare bool, args []string, in io.Reader, out io.Writer) error {
	if slices.Equal(args, []string{"-"}) {
		p, err := read(in)
		if err == nil {
			drawText(out, p)
		}
		return err
	} else if len(args) > 0 {
		return fmt.Errorf("don't know %q; try -d, or - to read", args)
	}
	for _, d := range drawings {
		if err := d.draw(compare, out); err != nil {
			return err
		}
	}
	return nil
}

// draw draws a lesson and writes both forms, or compares them with the files.
func (d drawing) draw(compare bool, out io.Writer) error {
	name := fmt.Sprintf("lesson%02d", d.lesson)
	base := filepath.Join(d.chapter, "testdata", name)
	var both picture
	for _, side := range []struct {
		name string
		runs []int
	}{{"mistake", d.mistake}, {"fix", d.fix}} {
		recorded, err := os.ReadFile(base + "-" + side.name + ".txt")
		if err != nil {
			return err
		}
		p, err := read(bytes.NewReader(recorded))
		if err != nil {
			return fmt.Errorf("%s: %w", base, err)
		}
		for i, r := range p {
			if side.runs == nil || slices.Contains(side.runs, i) {
				both = append(both, r)
			}
		}
	}
	for suffix, form := range map[string]func(io.Writer, picture){
		"-timeline.txt": drawText, "-timeline.svg": drawSVG,
	} {
		var drawn strings.Builder
		form(&drawn, both)
		path := base + suffix
		if !compare {
			if err := os.WriteFile(path, []byte(drawn.String()), 0o644); err != nil {
				return err
			}
			continue
		}
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		} else if string(old) != drawn.String() {
			return fmt.Errorf("%s is not what the recorded outputs say: "+
				"run .ci/update", path)
		}
	}
	return nil
}
