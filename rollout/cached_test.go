package rollout

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
)

// simulateCached runs a change that makes anew what is in store, on a site whose pages are all
// in store before.
func simulateCached(t *testing.T, runs int, p0 float64, world func(s *sim)) []result {
	t.Helper()
	if raced {
		runs = 1
	}
	out := make([]result, runs)
	for i := range runs {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, uint64(i)+1, 300)
			defer s.end()
			s.stores = map[simKey]time.Duration{}
			s.rates(p0, p0)
			s.deployed()
			s.play(2 * simFresh)
			world(s)
			s.submit("second")
			r := s.outcome(20 * time.Minute)
			out[i] = result{r, s.bads, time.Since(s.began) - s.first}
		})
	}
	return out
}

func TestABadChangeOfWhatIsInStoreIsUndoneByComparison(t *testing.T) {
	for _, tc := range []struct {
		name  string
		bads  float64
		after time.Duration
		world func(s *sim)
	}{
		{"always 500", 60, 15 * time.Second, func(s *sim) { s.rates(0.001, 1) }},
		{"5 % 500", 60, 2 * time.Minute, func(s *sim) { s.rates(0.001, 0.05) }},
		{"three times slower", 1e9, 2 * time.Minute, slower},
	} {
		if raced && tc.name != "always 500" {
			continue // the goroutines are the same
		}
		t.Run(tc.name, func(t *testing.T) {
			rs := simulateCached(t, *simulated, 0.001, tc.world)
			allUndone(t, rs, tc.bads, tc.after)
			for _, r := range rs {
				if !strings.HasPrefix(r.Receipt.Words, "undone after") || r.Receipt.ToOne < 1/judge.Alpha {
					t.Errorf("it was not convicted by a comparison: %s", r.Receipt.Words)
				}
			}
		})
	}
}

// A site whose pages fail and crawl now and then, the same for both arms: what the canary
// makes because it has nothing in store is no worse than what the old revision would make.
func TestAGoodChangeOfWhatIsInStoreIsPromoted(t *testing.T) {
	if raced {
		t.Skip("minutes of traffic; the goroutines are those of the bad changes")
	}
	rs := simulateCached(t, 2**simulated, 0.02, func(s *sim) {})
	for _, r := range rs {
		if t.Logf("%s after %s: %s", r.Change.State, r.after, r.Receipt.Words); r.Change.State != client.Promoted {
			t.Errorf("it ended %s: %s", r.Change.State, r.Receipt.Words)
		}
	}
}
