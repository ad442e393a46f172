package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/cache"
)

// roomEach is the room for one answer in the large store: all fit, and the bound is near.
const roomEach = 3 << 9

// costs writes what many stored answers take: memory, pauses of the collector, the
// time of a hit and of a purge, beside those of a store with a thousandth of them.
func costs(w io.Writer, objects int) {
	runtime.GC()
	debug.FreeOSMemory()
	before := resident()
	few, many := newEdge(64<<20, 1<<10), newEdge(selvage.ByteSize(objects)*roomEach+64<<20, 1<<10)
	defer few.store.Close()
	defer many.store.Close()
	for k := range max(objects/1000, 1) {
		few.ask(uint32(k))
	}
	started := time.Now()
	for k := range objects {
		many.ask(uint32(k))
	}
	filling := time.Since(started)
	runtime.GC()
	live := heapLive()
	fmt.Fprintf(w, "## A store of %d answers of 1 KiB\n\n", objects)
	fmt.Fprint(w, "| what | measured |\n|---|---|\n")
	fmt.Fprintf(w, "| stored, one after the other | %d in %.1f s |\n", many.store.Stats().Objects, filling.Seconds())
	hits := measureHits(few, many, objects)
	fmt.Fprintf(w, "| memory of the process, more than before, while hits are served | %.2f GiB |\n", gib(resident()-before))
	fmt.Fprintf(w, "| of it live on Go's heap | %.2f GiB, %d B an answer |\n", gib(int64(live)), live/uint64(objects))
	stored := many.store.Stats()
	fmt.Fprintf(w, "| what the store reckons | %.2f GiB, and %.0f MiB of gaps |\n", gib(stored.Bytes), float64(stored.Slack)/(1<<20))
	fmt.Fprint(w, hits)
	fmt.Fprint(w, measurePurges(few, many, objects))
}

func gib(n int64) float64 { return float64(n) / (1 << 30) }

// measureHits asks both stores in turn, so that a noisy machine is noisy for both.
func measureHits(few, many *edge, objects int) string {
	const each = 1_000_000
	r := rand.New(rand.NewPCG(1, 1))
	var times [2][]float64
	pausesBefore, cyclesBefore := pauses()
	for round := range each / 1000 {
		if round%100 == 99 {
			runtime.GC() // hits leave nothing to collect
		}
		for i, e := range [...]*edge{few, many} {
			n := max(objects/1000, 1)
			if i == 1 {
				n = objects
			}
			for range 1000 {
				k := uint32(r.IntN(n))
				from := time.Now()
				if !e.ask(k) {
					panic("what is stored is no hit")
				}
				times[i] = append(times[i], float64(time.Since(from).Nanoseconds())/1e3)
			}
		}
	}
	all, cycles := pauses()
	var out strings.Builder
	for _, p := range [...]float64{0.5, 0.99} {
		fmt.Fprintf(&out, "| hit with the reading of it, p%g, in µs, beside a store of %d | %.2f, %.2f |\n", p*100, max(objects/1000, 1),
			quantile(times[1], p), quantile(times[0], p))
	}
	fmt.Fprintf(&out, "| the collector's longest pause, of %d cycles, at most | %s |\n", cycles-cyclesBefore, longest(pausesBefore, all))
	return out.String()
}

// measurePurges purges tags that a thousandth of the answers have, and one that all have.
func measurePurges(few, many *edge, objects int) string {
	var times [2][]float64
	for n := range 1000 {
		for i, e := range [...]*edge{few, many} {
			tag := selvage.Tag(strconv.Itoa(n % 1000))
			if n == 999 {
				tag = "all"
			}
			from := time.Now()
			e.store.Purge(cache.Purge{Tenant: selvage.DefaultTenant, Service: "shop", Tags: []selvage.Tag{tag}})
			times[i] = append(times[i], float64(time.Since(from).Nanoseconds())/1e3)
		}
	}
	if many.ask(uint32(objects - 1)) {
		panic("what was purged is a hit")
	}
	return fmt.Sprintf("| purge of a tag, median, the slowest of 1,000, in µs | %.2f, %.1f |\n| the same in the small store | %.2f, %.1f |\n",
		quantile(times[1], 0.5), slices.Max(times[1]), quantile(times[0], 0.5), slices.Max(times[0]))
}

func quantile(values []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

// resident is the memory of this process, in bytes; 0 where nobody says.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func heapLive() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// pauses are the collector's so far, by their length, and how many cycles there were.
func pauses() (*metrics.Float64Histogram, uint64) {
	s := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(s)
	h := s[0].Value.Float64Histogram()
	return &metrics.Float64Histogram{Counts: slices.Clone(h.Counts), Buckets: h.Buckets}, s[1].Value.Uint64()
}

// longest is the upper end of the last bucket that grew.
func longest(before, after *metrics.Float64Histogram) string {
	for i, n := range slices.Backward(after.Counts) {
		if n > before.Counts[i] {
			end := after.Buckets[i+1]
			if math.IsInf(end, 1) {
				end = after.Buckets[i]
			}
			return time.Duration(end * float64(time.Second)).Round(time.Microsecond).String()
		}
	}
	return "none"
}
