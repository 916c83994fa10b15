// Lesson 7.5: the benchmark that measures nothing.
//
// How long does it take to mix the bits of a number, and how long to encode a
// message? Each question gets a benchmark, and each benchmark gets a figure.

package main

import (
	"context"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

// ignoreTheResult is a mistake: nobody uses the result, so the compiler leaves
// out the function.
func ignoreTheResult(b *testing.B) {
	for i := range b.N {
		_ = mix(uint64(i))
	}
}

// loop is the fix. The compiler keeps the arguments and the results of the
// calls in such a loop.
func loop(b *testing.B) {
	for i := uint64(0); b.Loop(); i++ {
		_ = mix(i)
	}
}

// mix mixes the bits of a number, so that numbers that are close to each other
// end up far apart (Steele, Lea and Flood: SplitMix).
func mix(x uint64) uint64 {
	const a, b = 0xbf58476d1ce4e5b9, 0x94d049bb133111eb
	x = (x ^ x>>30) * a
	x = (x ^ x>>27) * b
	x = (x ^ x>>31) * a // once more, and better
	x = (x ^ x>>30) * b
	x = (x ^ x>>27) * a
	x = (x ^ x>>31) * b
	return x ^ x>>30
}

// timeTheSetup is a mistake: it makes the messages within the loop.
func timeTheSetup(b *testing.B) {
	for i := range b.N {
		list := hundred()
		encode(list[i%len(list)])
	}
}

// setUpFirst is its fix: the loop begins when the messages are there. Until the
// first call of Loop, the clock does not run.
func setUpFirst(b *testing.B) {
	list := hundred()
	for i := 0; b.Loop(); i++ {
		encode(list[i%len(list)])
	}
}

// hundred returns a hundred messages.
func hundred() (list []Message) {
	for n := range 100 {
		list = append(list, newMessage(1, n+1))
	}
	return list
}

// timeMix takes the time of mix, and of a loop with nothing in it.
func timeMix(
	_ context.Context, s *scene, benchmark func(*testing.B),
) verdict {
	took := benched(benchmark, func(b *testing.B) {
		for range b.N {
		}
	})
	s.log.Info("mix", "thousand", took[0])
	s.log.Info("an empty loop", "thousand", took[1])
	return verdict{}
}

// timeEncode takes the time of encode. Then it checks that with a clock: the
// best of five times 20,000 calls.
func timeEncode(
	_ context.Context, s *scene, benchmark func(*testing.B),
) verdict {
	s.log.Info("encode", "thousand", benched(benchmark)[0])
	const calls = 20_000
	list, least := hundred(), time.Hour
	for range 5 {
		begun := time.Now()
		for i := range calls {
			encode(list[i%len(list)])
		}
		least = min(least, time.Since(begun))
	}
	s.log.Info("by the clock", "thousand",
		roughly(least.Nanoseconds()/(calls/1000))+"ns")
	return verdict{}
}

// benched runs benchmarks as go test -bench does, but in turn, thirty times,
// for only 2ms each. It returns what a thousand operations of each have taken
// at least, because the machine may be busy otherwise.
func benched(benchmarks ...func(*testing.B)) []string {
	testing.Init()
	flag.Set("test.benchtime", "2ms")
	took := make([]string, len(benchmarks))
	least := make([]int64, len(benchmarks))
	for range 30 {
		for i, benchmark := range benchmarks {
			r := testing.Benchmark(benchmark)
			ns := 1000 * r.T.Nanoseconds() / int64(r.N)
			if least[i] == 0 || ns < least[i] {
				least[i], took[i] = ns, roughly(ns)+"ns"
			}
		}
	}
	return took
}

// judgeBenchmark is the verdict on a benchmark. It has failed if its figure is
// about that of an empty loop, or much more than the clock says.
func judgeBenchmark(endings []ending) verdict {
	m := regexp.MustCompile(`msg=(\w+) thousand=~(\d+)ns(?s:.*)` +
		`msg="(an empty loop|by the clock)" thousand=~(\d+)ns`).
		FindStringSubmatch(endings[0].printed)
	if m == nil {
		return verdict{}
	}
	took, _ := strconv.Atoi(m[2])
	other, _ := strconv.Atoi(m[4])
	failed := took < 2*other
	if m[1] == "encode" {
		failed = took > 10*other
	}
	return verdict{
		fmt.Sprintf("a thousand times: %s ~%sns, %s ~%sns",
			m[1], m[2], m[3], m[4]), failed,
	}
}

var lesson05 = lesson{
	number: 5, title: "the benchmark that measures nothing",
	watch: "whether the figure can be true",
	mistakes: slices.Concat(
		inChild(child{verdict: judgeBenchmark},
			runs(timeMix, ignoreTheResult)),
		inChild(child{verdict: judgeBenchmark},
			runs(timeEncode, timeTheSetup)),
	),
	fix: slices.Concat(
		inChild(child{verdict: judgeBenchmark}, runs(timeMix, loop)),
		inChild(child{verdict: judgeBenchmark}, runs(timeEncode, setUpFirst)),
	),
}
