package telemetry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

func TestSeriesHasTheLastMinuteSecondBySecond(t *testing.T) {
	var s Series
	start := time.Unix(1_000_000, 0)
	for i := range 100 { // one request in second 0, two in second 1, …
		for range i + 1 {
			r := plain()
			r.Start = start.Add(time.Duration(i) * time.Second)
			r.Cache.Hit = i%2 == 0
			if i == 99 {
				r.WhyBad = record.OwnError
			}
			s.Take(r)
		}
	}
	gone := plain()
	gone.Start, gone.WhyBad = start.Add(99*time.Second), record.ClientGone
	s.Take(gone)

	got := s.Snapshot(start.Add(99*time.Second + 500*time.Millisecond))
	if len(got) != 1 || got[0].Tenant != "main" || got[0].Service != "shop" || len(got[0].Seconds) != 60 {
		t.Fatalf("snapshot %+v, want a minute of main/shop", got)
	}
	if first, last := got[0].Seconds[0], got[0].Seconds[59]; first.Requests != 41 || last.Requests != 101 || last.Bad != 100 {
		t.Errorf("first second %+v, last %+v; want 41 and 101 requests, 100 bad", first, last)
	}
	if total := got[0].Total; total.Requests != 41*60+59*60/2+1 || total.Bad != 100 || total.Hits == 0 || total.BytesOut != total.Requests*1224 {
		t.Errorf("total %+v", total)
	}

	if later := s.Snapshot(start.Add(130 * time.Second))[0]; later.Seconds[29].Requests != 0 || later.Seconds[28].Requests != 101 {
		t.Errorf("half a minute later the seconds are %+v, want them moved", later.Seconds[25:32])
	}
	if later := s.Snapshot(start.Add(time.Hour))[0]; later.Total != (Second{}) {
		t.Errorf("an hour later the total is %+v, want nothing", later.Total)
	}
}

func TestSeriesSurvivesAClockSetBack(t *testing.T) {
	var s Series
	r := plain()
	r.Start = time.Unix(2_000_000, 0)
	s.Take(r)
	r.Start = time.Unix(2_000_000-3600, 0)
	s.Take(r)
	if got := s.Snapshot(r.Start)[0].Total.Requests; got != 1 {
		t.Errorf("%d requests after the clock was set back, want 1", got)
	}
}

func TestQuantilesAreWithinATenth(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var s spread
	var all []time.Duration
	for range 10_000 {
		d := 20*time.Microsecond + time.Duration(rnd.ExpFloat64()*float64(30*time.Millisecond))
		all = append(all, d)
		s.add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, .01, .5, .9, .99, 1} {
		got, want := s.quantile(q), all[int(q*float64(len(all)-1))]
		if got < want*9/10 || got > want*11/10 {
			t.Errorf("quantile %v is %v, want %v give or take a tenth", q, got, want)
		}
	}
}

func TestEveryTimeHasItsPart(t *testing.T) {
	last := -1
	for d := time.Duration(0); d < 60*time.Second; d += 1 + d/40 {
		i := part(d)
		if i < last || i > last+1 && last >= 8 {
			t.Fatalf("part(%v) = %d after %d", d, i, last)
		}
		if m := middle(i); d > unit && (m < d*14/15 || m > d*16/15) {
			t.Fatalf("the middle of %v's part is %v", d, m)
		}
		last = i
	}
	if part(time.Hour) != parts-1 || part(-1) != 0 || middle(parts-1) < time.Minute {
		t.Errorf("the ends are %d, %d and %v", part(time.Hour), part(-1), middle(parts-1))
	}
}

func TestServicesWithoutEndAreCountedTogether(t *testing.T) {
	var s Series
	r := plain()
	for i := range maxSeries + 10 {
		r.Target.Service = selvage.ServiceName(fmt.Sprint("s", i))
		s.Take(r)
	}
	got := s.Snapshot(r.Start)
	if len(got) != maxSeries+1 {
		t.Fatalf("%d series, want %d", len(got), maxSeries+1)
	}
	i := slices.IndexFunc(got, func(s ServiceSeries) bool { return s.Service == other })
	if i < 0 || got[i].Total.Requests != 10 {
		t.Errorf("the rest is not 10 requests under %q", other)
	}
}

func TestSeriesLosesNothingUnderConcurrency(t *testing.T) {
	var s Series
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			r := plain()
			r.Target.Service = selvage.ServiceName(fmt.Sprint("s", i%2))
			for range 1000 {
				s.Take(r)
			}
		})
	}
	wg.Wait()
	var sum int64
	for _, v := range s.Snapshot(plain().Start) {
		sum += v.Total.Requests
	}
	if sum != 4000 {
		t.Errorf("%d requests, want 4000", sum)
	}
}

func BenchmarkSeriesTake(b *testing.B) {
	var s Series
	r := plain()
	b.ReportAllocs()
	for b.Loop() {
		s.Take(r)
	}
}
