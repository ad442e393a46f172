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
	"sync"
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
	quiet := pausesBeside(few.mustHit, max(objects/1000, 1))
	started := time.Now()
	for k := range objects {
		many.ask(uint32(k))
	}
	filling := time.Since(started)
	full := pausesBeside(many.mustHit, objects)
	runtime.GC()
	live, taken := heapLive(), resident()-before
	fmt.Fprintf(w, "## A store of %d answers of 1 KiB\n\n", objects)
	fmt.Fprint(w, "| what | measured |\n|---|---|\n")
	fmt.Fprintf(w, "| stored, one after the other | %d in %.1f s |\n", many.store.Stats().Objects, filling.Seconds())
	fmt.Fprintf(w, "| memory of the process, more than before, after hits were served | %.2f GiB |\n", gib(taken))
	fmt.Fprintf(w, "| of it live on Go's heap | %.2f GiB, %d B an answer |\n", gib(int64(live)), live/uint64(objects))
	stored := many.store.Stats()
	fmt.Fprintf(w, "| what the store reckons | %.2f GiB, and %.0f MiB of gaps |\n", gib(stored.Bytes), float64(stored.Slack)/(1<<20))
	fmt.Fprintf(w, "| pauses of the collector beside hits, before anything but a thousandth was stored | %s |\n", quiet)
	fmt.Fprintf(w, "| the same with all stored | %s |\n", full)
	fmt.Fprint(w, measureHits(few, many, objects))
	fmt.Fprint(w, measurePurges(few, many, objects))
}

func gib(n int64) float64 { return float64(n) / (1 << 30) }

// How hits are asked for beside a full store: at a rate that one core has much room
// for, whether or not the answer before is there.
const (
	pacedHits  = 1_000_000 // of both stores together
	pacedEvery = 20 * time.Microsecond
	// Who is so late was kept off the processor by others: that is counted once, and not
	// for all who would have come meanwhile.
	pacedLate = 5 * time.Millisecond
)

// measureHits asks both stores in turn for random keys, so that a noisy machine is noisy for
// both, at fixed times: who comes while the collector runs waits for it, and is counted.
// What a full store cannot help is that its answers are in no cache of the processor: a copy
// of as many bytes from a random place of as much plain memory says what that costs.
func measureHits(few, many *edge, objects int) string {
	r := rand.New(rand.NewPCG(1, 1))
	small, large := make([]byte, max(objects/1000, 1)*roomEach), make([]byte, objects*roomEach)
	for i := 0; i < len(large); i += 4096 {
		large[i] = 1 // now the memory is there
	}
	kinds := [...]struct {
		n   int
		ask func(k uint32)
	}{
		{max(objects/1000, 1), few.mustHit}, {objects, many.mustHit},
		{max(objects/1000, 1), copies(small)}, {objects, copies(large)},
	}
	var times [len(kinds)][]float64
	collecting := collectNowAndThen()
	next, late := time.Now(), 0
	for i := range 2 * pacedHits {
		kind := &kinds[i%len(kinds)]
		k := uint32(r.IntN(kind.n))
		for time.Now().Before(next) {
		}
		kind.ask(k)
		times[i%len(kinds)] = append(times[i%len(kinds)], float64(time.Since(next).Nanoseconds())/1e3)
		if next = next.Add(pacedEvery); time.Since(next) > pacedLate {
			next = time.Now()
			late++
		}
	}
	collecting()
	var out strings.Builder
	for _, p := range [...]float64{0.5, 0.99, 0.999} {
		fmt.Fprintf(&out, "| hit with the reading of it, asked for every %v, p%g, in µs, beside a store of %d | %.2f, %.2f |\n", pacedEvery, p*100, kinds[0].n,
			quantile(times[1], p), quantile(times[0], p))
		fmt.Fprintf(&out, "| a copy of %d B from a random place of as much plain memory, the same | %.2f, %.2f |\n", roomEach, quantile(times[3], p), quantile(times[2], p))
	}
	fmt.Fprintf(&out, "| times that the asker was more than %v late: with more than a few the machine is too busy for these figures | %d |\n", pacedLate, late)
	return out.String()
}

// mustHit asks for what is stored.
func (e *edge) mustHit(k uint32) {
	if !e.ask(k) {
		panic("what is stored is no hit")
	}
}

// copies copies from a place of memory.
func copies(from []byte) func(k uint32) {
	to := make([]byte, roomEach)
	return func(k uint32) { copy(to, from[int(k)*roomEach:]) }
}

// pausesBeside are the collector's while random keys are hit, every so often: how
// many, how many of them longer than a millisecond, and the longest. On a shared
// machine a pause lasts until a thread that the kernel has put aside runs again: what
// is stored does not change that, and an empty store shows it too.
func pausesBeside(ask func(k uint32), n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	collecting := collectNowAndThen()
	before := pauses()
	for end := time.Now().Add(pausesFor); time.Now().Before(end); time.Sleep(pacedEvery) {
		ask(uint32(r.IntN(n)))
	}
	after := pauses()
	collecting()
	var all, long uint64
	for i := range after.Counts {
		grown := after.Counts[i] - before.Counts[i]
		all += grown
		if after.Buckets[i] >= 1e-3 {
			long += grown
		}
	}
	return fmt.Sprintf("%d, %d longer than 1 ms, the longest %s", all, long, longest(before, after))
}

// pausesFor is long enough for fifty cycles.
const pausesFor = 10 * time.Second

// collectNowAndThen lets the collector run beside the hits, which leave it nothing to do; stop ends that.
func collectNowAndThen() (stop func()) {
	ended, tick := make(chan struct{}), time.NewTicker(200*time.Millisecond)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-tick.C:
				runtime.GC()
			case <-ended:
				return
			}
		}
	})
	return func() { tick.Stop(); close(ended); wg.Wait() }
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

// pauses are the collector's so far, by their length.
func pauses() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(s)
	h := s[0].Value.Float64Histogram()
	return &metrics.Float64Histogram{Counts: slices.Clone(h.Counts), Buckets: h.Buckets}
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
