package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const columns = 80

// A scale turns instants into columns or pixels.
type scale struct {
	end         time.Duration
	left, width float64
}

func (s scale) x(at time.Duration) float64 {
	return s.left + s.width*float64(at)/float64(s.end)
}

// ticks returns round instants from 0 on, at most n of them after it.
func (s scale) ticks(n int) (at []time.Duration) {
	step := time.Millisecond
	for i := 0; s.end/step > time.Duration(n); i++ {
		step *= []time.Duration{2, 5, 2}[i%3] // 1, 2, 10, 20, 100
		if i%3 == 1 {
			step /= 2 // 5
		}
	}
	for d := time.Duration(0); d <= s.end; d += step {
		at = append(at, d)
	}
	return at
}

// end returns when the last run has ended.
func (p picture) end() (end time.Duration) {
	for _, run := range p {
		end = max(end, run.end)
	}
	return max(end, 1)
}

// most returns the largest count.
func (p picture) most() int {
	most := 1
	for _, run := range p {
		for _, s := range run.samples {
			most = max(most, slices.Max(s.counts))
		}
	}
	return most
}

// drawText draws a picture in 80 columns.
func drawText(w io.Writer, p picture) {
	left, right := 0, 0
	for _, run := range p {
		for _, r := range run.rows {
			left = max(left, len(r.label))
			if r.bar != nil {
				right = max(right, len(r.bar.word))
			}
			for _, m := range r.marks {
				right = max(right, len(m.word))
			}
		}
	}
	s := scale{p.end(), float64(left + 2), float64(columns - left - right - 6)}
	for i, run := range p {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, run.name)
		switch {
		case len(run.samples) > 0:
			counts(w, run, p.most())
		case len(run.rows) > 0:
			var axis line
			for _, at := range s.ticks(8) {
				axis.put(s.x(at), at.String())
			}
			fmt.Fprintln(w, axis)
			for i, r := range run.rows {
				fmt.Fprintln(w, r.text(s, run.labelled(i)))
			}
		}
		fmt.Fprintln(w, run.verdict)
	}
}

// text draws a row.
func (r *row) text(s scale, labelled bool) line {
	var l line
	if labelled {
		l.put(0, r.label)
	}
	if r.bar == nil {
		for _, m := range r.marks {
			l.put(max(s.x(m.at), float64(len(l))), "|"+m.word)
		}
		return l
	}
	b := r.bar
	from, to := int(s.x(b.from)+.5), int(s.x(b.to)+.5)
	middle, last := "#", "]"
	if b.lease {
		middle = "-"
	}
	switch {
	case b.open:
		last = ">"
	case b.word == "expired":
		last = "x"
	}
	if from == to {
		l.put(float64(from), "|")
	} else {
		l.put(float64(from), "["+strings.Repeat(middle, to-from-1)+last)
	}
	for _, m := range r.marks {
		if m.sign() && m.at > b.from {
			l.put(s.x(m.at), m.word)
		}
	}
	if b.word != "" {
		l.put(float64(to+2), b.word)
	}
	for _, m := range r.marks {
		switch {
		case m.sign():
		case m.at <= b.to:
			l.put(float64(len(l)+1), m.word)
		default:
			l.put(max(s.x(m.at), float64(len(l)+2)), "| "+m.word)
		}
	}
	return l
}

// sign reports whether the mark is drawn on a lease: extended, or not.
func (m mark) sign() bool { return m.word == "+" || m.word == "!" }

// counts draws a bar for each count.
func counts(w io.Writer, run *playing, most int) {
	names := run.samples[0].names
	width := (columns - 7) / len(names)
	var head line
	for i, name := range names {
		head.put(float64(7+i*width), name)
	}
	fmt.Fprintln(w, head)
	for _, sample := range run.samples {
		var l line
		l.put(0, sample.at.String())
		for i, n := range sample.counts {
			l.put(float64(7+i*width), fmt.Sprintf("%4d %s", n,
				strings.Repeat("#", n*(width-6)/most)))
		}
		fmt.Fprintln(w, l)
	}
}

// A line of text is drawn on.
type line []rune

func (l *line) put(x float64, s string) {
	i := int(x + .5)
	for len(*l) < i+len(s) {
		*l = append(*l, ' ')
	}
	copy((*l)[i:], []rune(s))
}

func (l line) String() string { return strings.TrimRight(string(l), " ") }
