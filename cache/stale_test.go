package cache

import (
	"testing"
	"time"
)

func TestAnswerStandsInForAnErrorAsLongAsItMay(t *testing.T) {
	const policy = 100 * time.Second
	tests := []struct {
		control string
		age     time.Duration // max-age is 10 s
		want    bool
	}{
		{"max-age=10", 0, true},
		{"max-age=10", 10 * time.Second, true},
		{"max-age=10", 109 * time.Second, true},
		{"max-age=10", 110 * time.Second, false},
		{"max-age=10, stale-if-error=5", 14 * time.Second, true},
		{"max-age=10, stale-if-error=5", 15 * time.Second, false},
		{"max-age=10, stale-if-error=0", 10 * time.Second, false},
		{"max-age=10, stale-if-error=oops", 10 * time.Second, false},
		{"max-age=10, must-revalidate, stale-if-error=50", 10 * time.Second, false},
		{"max-age=10, must-revalidate", 5 * time.Second, true}, // still fresh: it was the client that asked
		{"max-age=10, proxy-revalidate", 10 * time.Second, false},
		{"s-maxage=10", 10 * time.Second, false},
		{"s-maxage=10, stale-if-error=50", 10 * time.Second, false},
		{"no-cache", 0, false},
	}
	for _, tt := range tests {
		d := readAnswerDirectives([]string{tt.control})
		lifetime, _ := explicitLifetime(nil, d, epoch)
		x := terms{
			received: epoch, lifetime: lifetime, noCache: d.noCache, neverStale: neverStale(d),
			stale: windows(d, staleWindows{ifError: policy}, time.Minute),
		}
		if got := standsIn(epoch.Add(tt.age), &x); got != tt.want {
			t.Errorf("%q after %v stands in: %v, want %v", tt.control, tt.age, got, tt.want)
		}
	}
}

func TestAnswerStaleFromItsBeginningHasOnlyItsOwnWindows(t *testing.T) {
	policy := staleWindows{whileRevalidate: time.Hour, ifError: time.Hour}
	own := staleWindows{ifError: time.Minute}
	for _, c := range []struct {
		field    string
		lifetime time.Duration
		want     staleWindows
	}{
		{"max-age=1", time.Second, policy},
		{"max-age=0", 0, staleWindows{}},
		{"", 0, staleWindows{}}, // Expires said so
		{"max-age=0, stale-if-error=60", 0, own},
		{"public, max-age=0", 0, policy},
	} {
		d := readAnswerDirectives([]string{c.field})
		if got := windows(d, policy, c.lifetime); got != c.want {
			t.Errorf("%q: %+v; want %+v", c.field, got, c.want)
		}
	}
}
