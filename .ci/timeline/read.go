package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A picture is what is drawn: runs, one below the other, on one scale.
type picture []*playing

// A playing is one run of a scene: what its log says, row by row.
type playing struct {
	name    string // "mistake 1.6: workThenAck"
	verdict string // "1 message, deliveries 2, restarts 2, took 5s"
	rows    []*row
	samples []sample // of a run that logs counts, msg="so far", instead
	end     time.Duration
}

// A row is a line of the picture: a lease, a piece of work, or instants.
type row struct {
	label string
	bar   *bar // nil if there are only instants
	marks []mark
}

type bar struct {
	lease    bool // drawn thin; work is drawn thick
	from, to time.Duration
	open     bool   // it does not end within the run
	word     string // what ended it
}

// A mark is an instant. An extension has no word.
type mark struct {
	at   time.Duration
	word string
}

type sample struct {
	at     time.Duration
	names  []string
	counts []int
}

var (
	header = regexp.MustCompile(`^--- (\w+ [\d.]+: \w+)`)
	closes = regexp.MustCompile(`^(?:mistake|fix) [\d.]+: (.*)`)
	pair   = regexp.MustCompile(`([\w-]+)=("[^"]*"|\S+)`)
)

// read reads what a command has printed. The log lines of a run that has no
// times, because it was a process of its own, are left out.
func read(r io.Reader) (p picture, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if m := header.FindStringSubmatch(line); m != nil {
			p = append(p, &playing{name: m[1]})
			continue
		}
		if len(p) == 0 {
			continue
		}
		run := p[len(p)-1]
		if m := closes.FindStringSubmatch(line); m != nil {
			run.verdict = m[1]
			run.close()
			continue
		}
		if !strings.HasPrefix(line, "t=") ||
			strings.HasPrefix(line, "t=<time>") {
			continue
		}
		attrs := make(map[string]string)
		var names []string
		for _, m := range pair.FindAllStringSubmatch(line, -1) {
			attrs[m[1]] = strings.Trim(m[2], `"`)
			names = append(names, m[1])
		}
		at, err := time.ParseDuration(attrs["t"])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		run.end = max(run.end, at)
		if attrs["msg"] == "so far" {
			s := sample{at: at, names: names[2:]}
			for _, name := range s.names {
				n, _ := strconv.Atoi(attrs[name])
				s.counts = append(s.counts, n)
			}
			run.samples = append(run.samples, s)
			continue
		}
		run.add(at, attrs)
	}
	return p, lines.Err()
}

// brokers are the words that the broker has for what becomes of a delivery.
var brokers = []string{"expired", "acked", "nacked", "dead-lettered",
	"extended", "extend refused", "ack refused", "nack refused"}

// add draws one line of the log.
func (p *playing) add(at time.Duration, attrs map[string]string) {
	id, what, attempt := attrs["id"], attrs["msg"], attrs["attempt"]
	switch {
	case what == "published" || what == "restarts take":
	case what == "watching":
		d, _ := time.ParseDuration(attrs["for"])
		p.end = max(p.end, at+d)
	case what == "delivered":
		p.rows = append(p.rows, &row{label: id + " #" + attempt,
			bar: &bar{lease: true, from: at, open: true}})
	case slices.Contains(brokers, what):
		p.onLease(id+" #"+attempt, at, what)
	case what == "in progress":
		p.rows = append(p.rows, &row{label: id,
			bar: &bar{from: at, open: true}})
	case attrs["call"] != "":
		p.work("call "+attrs["call"], at, attrs)
	case what == "and so on":
	case what == "left alone":
		p.rows = append(p.rows, &row{label: id, marks: []mark{{at, what}}})
	case id != "" && attrs["delivery"] == "" && what != "consumed" ||
		attrs["took"] != "":
		p.work(id, at, attrs)
	default: // an instant
		r := p.row(what)
		if r == nil {
			r = &row{label: what}
			p.rows = append(p.rows, r)
		}
		r.marks = append(r.marks, mark{at, short(attrs)})
	}
}

// short says what is worth saying of an instant.
func short(attrs map[string]string) string {
	for _, name := range []string{"delivery", "id", "ready"} {
		if value, ok := attrs[name]; ok {
			return strings.NewReplacer("true", "yes", "false", "no", "m", "").
				Replace(value)
		}
	}
	return strings.Trim(attrs["ids"]+attrs["in_flight"], "[]")
}

// row returns the first row with that label, or nil.
func (p *playing) row(label string) *row {
	for _, r := range p.rows {
		if r.label == label {
			return r
		}
	}
	return nil
}

// onLease draws what the broker says of a delivery.
func (p *playing) onLease(label string, at time.Duration, what string) {
	r := p.row(label)
	if r == nil {
		return
	}
	switch {
	case what == "extended":
		r.marks = append(r.marks, mark{at, "+"})
	case what == "extend refused":
		r.marks = append(r.marks, mark{at, "!"})
	case r.bar.open && !strings.HasSuffix(what, " refused"):
		r.bar.to, r.bar.open, r.bar.word = at, false, what
	default:
		r.marks = append(r.marks, mark{at, what})
	}
}

// work draws work that has ended. It began as long before as it took, or when
// it was logged to be in progress, or with the last delivery of its message, or
// with the end of the row before, or at the start.
func (p *playing) work(label string, at time.Duration, attrs map[string]string) {
	b := &bar{to: at, word: attrs["msg"]}
	if err := attrs["err"]; b.word == "called" {
		b.word = strings.Replace(err, "<nil>", "answered", 1)
	}
	place := len(p.rows)
	for i, r := range p.rows {
		switch {
		case r.label == label && r.bar != nil && r.bar.open && !r.bar.lease:
			r.bar.to, r.bar.open, r.bar.word = at, false, b.word
			return
		case strings.HasPrefix(r.label, label+" #") && r.bar.from < at:
			b.from = r.bar.from
			place = i + 1
		case attrs["call"] != "":
			b.from = r.bar.to
		}
	}
	if took, err := time.ParseDuration(attrs["took"]); err == nil {
		b.from = at - took
		for i, r := range p.rows { // the delivery that had it
			if strings.HasPrefix(r.label, label+" #") && r.bar.from <= b.from {
				place = i + 1
			}
		}
	}
	for place < len(p.rows) && p.rows[place].label == label {
		place++ // after other work on the same delivery
	}
	p.rows = slices.Insert(p.rows, place, &row{label: label, bar: b})
}

// labelled reports whether a row has a label of its own: work that belongs to
// the lease above it has none.
func (p *playing) labelled(i int) bool {
	return i == 0 || p.rows[i].label != p.rows[i-1].label &&
		!strings.HasPrefix(p.rows[i-1].label, p.rows[i].label+" #")
}

// first returns when a row begins.
func (r *row) first() time.Duration {
	if r.bar != nil {
		return r.bar.from
	}
	return r.marks[0].at
}

// close ends what is open at the end of the run. Rows without a lease are
// sorted by when they begin.
func (p *playing) close() {
	if !slices.ContainsFunc(p.rows, func(r *row) bool {
		return r.bar != nil && r.bar.lease
	}) {
		slices.SortStableFunc(p.rows, func(a, b *row) int {
			if d := cmp.Compare(a.first(), b.first()); d != 0 ||
				a.bar == nil || b.bar == nil {
				return d
			}
			return cmp.Compare(a.label, b.label)
		})
	}
	for _, r := range p.rows {
		if r.bar != nil && r.bar.open {
			r.bar.to = p.end
		}
	}
}
