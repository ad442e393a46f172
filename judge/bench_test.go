package judge

import (
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// One making from start to end, as the request path pays for it.
func BenchmarkMaking(b *testing.B) {
	book, clients := NewBook(Options{}), NewClients(begin)
	for range 500 {
		book.Learn("all", Outcome{Latency: time.Millisecond, Bytes: 100})
	}
	book.Share(begin, 0.01)
	now, i := begin, uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		i++
		now = now.Add(100 * time.Microsecond)
		_, timed := clients.Making(now, i%5000)
		a := selvage.Baseline
		if i%100 == 0 {
			a = selvage.Canary
		}
		t := book.Start(now, a, "all", timed)
		book.End(now, t, Outcome{Latency: time.Millisecond, Bytes: 100})
	}
}

// What a node and the panel do every 100 ms.
func BenchmarkVerdict(b *testing.B) {
	book, p := node("n", 1), NewPanel(1)
	fill(book, 10, 90, 10, 1, 1)
	for b.Loop() {
		p.Hear(book.Report(time.Minute))
		p.Verdict(time.Minute, 0.02, 0.1)
	}
}

func BenchmarkAttribution(b *testing.B) {
	samples := ring(1, 600_000, func(v *[dimensions]string) bool { return v[ByRevision] == "new" && v[ByRoute] == "r3" })
	for b.Loop() {
		Attribute(samples, 5)
	}
	b.ReportMetric(float64(len(samples)), "records")
}
