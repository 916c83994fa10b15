package main

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
)

const (
	wide       = 960.0 // pixels
	rowHeight  = 24.0
	chartTall  = 170.0
	labelRoom  = 165.0
	wordRoom   = 165.0
	letterWide = 8.5
)

// Colours that can be told apart without red and green. Nothing is said by
// colour alone: bars end in a word, and lines have dashes.
const (
	leaseColour = "#9ecae1"
	workColour  = "#fdae6b"
	goodColour  = "#08519c"
	badColour   = "#a63603"
)

// A canvas is an SVG that is being drawn, from top to bottom.
type canvas struct {
	strings.Builder
	y float64
}

func (c *canvas) words(x float64, anchor, fill, text string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+
		"\n", x, c.y+17, anchor, fill, html.EscapeString(text))
}

func (c *canvas) box(from, to, down, tall float64, fill string) {
	fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2" `+
		`fill="%s"/>`+"\n", from, c.y+down, max(2, to-from), tall, fill)
}

func (c *canvas) path(stroke, dashes, d string) {
	fmt.Fprintf(c, `<path d="%s" fill="none" stroke="%s" stroke-width="2.5" `+
		`stroke-dasharray="%s"/>`+"\n", d, stroke, dashes)
}

// drawSVG draws a picture 960 pixels wide, and as high as it needs.
func drawSVG(w io.Writer, p picture) {
	s := scale{p.end(), labelRoom, wide - labelRoom - wordRoom}
	c := &canvas{y: 8}
	var names []string
	for _, run := range p {
		names = append(names, run.name+": "+run.verdict)
		fmt.Fprintf(c, `<text x="10" y="%.1f" font-weight="bold">%s</text>`+
			"\n", c.y+17, html.EscapeString(run.name))
		c.y += rowHeight
		tall := rowHeight * float64(len(run.rows))
		if len(run.samples) > 0 {
			tall = chartTall
		}
		if tall > 0 {
			for _, at := range s.ticks(8) {
				c.words(s.x(at), "middle", "#666", at.String())
				fmt.Fprintf(c, `<path d="M%.1f %.1fv%.1f" stroke="#ddd"/>`+
					"\n", s.x(at), c.y+rowHeight, tall)
			}
			c.y += rowHeight
		}
		if len(run.samples) > 0 {
			c.chart(run, s, p.most())
		}
		for i, r := range run.rows {
			c.row(r, s, run.labelled(i))
		}
		c.words(10, "start", "#333", run.verdict)
		c.y += rowHeight + 16
	}
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" `+
		`viewBox="0 0 %.0f %.0f" role="img" font-size="15" `+
		`font-family="DejaVu Sans, Verdana, sans-serif">
<title>%s</title>
<rect width="100%%" height="100%%" fill="white"/>
%s</svg>
`, wide, c.y, html.EscapeString(strings.Join(names, "; ")), c.String())
}

func (c *canvas) row(r *row, s scale, labelled bool) {
	if labelled {
		c.words(10, "start", "black", r.label)
	}
	free := 0.0 // where there is room for a word
	if b := r.bar; b != nil {
		fill, down, tall := workColour, 4.0, 16.0
		if b.lease {
			fill, down, tall = leaseColour, 8, 8
		}
		if b.from == b.to {
			fill, down, tall = "black", 5, 14
		}
		c.box(s.x(b.from), s.x(b.to), down, tall, fill)
		free = s.x(b.to) + 8
		if b.open {
			c.words(s.x(b.to)-2, "start", "black", "›")
			free += letterWide
		}
		c.words(free, "start", colour(b.word), b.word)
		free += letterWide * float64(len(b.word)+1)
	}
	for i, m := range r.marks {
		switch x := s.x(m.at); {
		case m.word == "+":
			c.box(x-1.5, x+1.5, 3, 18, goodColour)
		case m.word == "!":
			c.words(x, "middle", badColour, "!")
		case r.bar != nil:
			if m.at > r.bar.to {
				c.box(x-1, x+1, 5, 14, "black")
			}
			x = max(x+6, free)
			c.words(x, "start", colour(m.word), m.word)
			free = x + letterWide*float64(len(m.word)+1)
		default:
			c.box(x-1, x+1, 5, 14, "black")
			if i+1 == len(r.marks) || s.x(r.marks[i+1].at) > x+16 {
				c.words(x+5, "start", "black", m.word) // there is room
			}
		}
	}
	c.y += rowHeight
}

func colour(word string) string {
	switch {
	case word == "acked":
		return goodColour
	case word == "expired" || strings.HasSuffix(word, "refused"):
		return badColour
	}
	return "black"
}

// chart draws counts over time, a line each. Their names stand at the right,
// the largest at the top.
func (c *canvas) chart(run *playing, s scale, most int) {
	last := run.samples[len(run.samples)-1]
	up := func(n int) float64 {
		return c.y + chartTall - (chartTall-20)*float64(n)/float64(most)
	}
	order := make([]int, len(last.names))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(last.counts[b], last.counts[a])
	})
	top, beside := c.y, 0.0
	for rank, i := range order {
		d := ""
		for _, sample := range run.samples {
			d += fmt.Sprintf("L%.1f %.1f", s.x(sample.at), up(sample.counts[i]))
		}
		d = "M" + d[1:]
		stroke := []string{"#08519c", "#a63603", "#54278f", "#333"}[rank%4]
		c.path(stroke, []string{"", "9 4", "3 4", "12 3 3 3"}[rank%4], d)
		beside = max(beside, up(last.counts[i])-12)
		c.y = beside
		c.words(s.x(last.at)+8, "start", stroke,
			fmt.Sprintf("%s %d", last.names[i], last.counts[i]))
		beside += 18
		c.y = top
	}
	c.y = max(top+chartTall, beside+6)
}
