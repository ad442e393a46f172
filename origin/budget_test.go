package origin

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRetriesStayWithinTheBudget(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		name     string
		share    float64
		requests int           // all at the start
		after    time.Duration // then retries are asked for
		want     int
	}{
		{"three always", 0.1, 1, 0, 3},
		{"three without a share", 0, 1000, 0, 3},
		{"a tenth of many", 0.1, 100, 0, 10},
		{"rounded down", 0.1, 109, 0, 10},
		{"in the last second of the window", 0.1, 100, 9 * time.Second, 10},
		{"the window is over", 0.1, 100, 10 * time.Second, 3},
		{"long over", 0.1, 100, time.Hour, 3},
		{"all", 1, 50, 0, 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := budget{share: c.share}
			for range c.requests {
				b.request(start)
			}
			got := 0
			for b.retry(start.Add(c.after)) {
				got++
			}
			if got != c.want {
				t.Errorf("%d retries; want %d", got, c.want)
			}
		})
	}
}

func TestRetriesComeBackWithTheWindow(t *testing.T) {
	b := budget{share: 0.1}
	total := 0
	for second := range 30 {
		if b.retry(time.Unix(int64(2_000_000+second), 0)) {
			total++
		}
	}
	if total != 9 {
		t.Errorf("%d retries in 30 s; want 9, three in each window", total)
	}
}

func TestBudgetIsExactForManyAtOnce(t *testing.T) {
	b := budget{share: 0.1}
	var allowed atomic.Int64
	var wg sync.WaitGroup
	now := time.Unix(3_000_000, 0)
	for range 200 {
		b.request(now)
	}
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if b.retry(now) {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := allowed.Load(); got != 20 {
		t.Errorf("%d retries; want 20", got)
	}
}
