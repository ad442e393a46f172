package judge

import (
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// A site that starts, or that had a bad hour, is slow for a while. Marks from
// then are above everything that a slow canary does.
func TestMarksFollowTheSitesSpeed(t *testing.T) {
	b := NewBook(Options{})
	for range 10_000 {
		b.Learn("cart", Outcome{Latency: time.Second, Bytes: 100})
	}
	for range 4000 {
		b.Learn("cart", Outcome{Latency: 2 * time.Millisecond, Bytes: 100})
	}
	s := b.strata[b.stratum("cart")]
	if m := marks(&s.latency, &s.size); m.Slow[0] > 3*time.Millisecond || m.Slow[1] > 3*time.Millisecond {
		t.Errorf("after 4,000 makings of 2 ms the marks are %v", m.Slow)
	}
	b = b.Heir(Options{})
	b.Share(begin, 0.1)
	now := begin
	for i := range 600 {
		arm, took := selvage.Baseline, 2*time.Millisecond
		if i%10 == 0 {
			arm, took = selvage.Canary, 40*time.Millisecond
		}
		ticket := b.Start(now, arm, "cart", true)
		now = now.Add(10 * time.Millisecond)
		b.End(now, ticket, Outcome{Latency: took, Bytes: 100})
		b.Tick(now)
		if b.Report(now.Sub(begin)).Alone >= 7 {
			t.Logf("convicted after %d makings", i+1)
			return
		}
	}
	t.Error("60 slow makings of a canary were not seen")
}
