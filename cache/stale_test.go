package cache

import (
	"net/http"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
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
		if got := standsIn(epoch.Add(tt.age), &x, requestDirectives{}); got != tt.want {
			t.Errorf("%q after %v stands in: %v, want %v", tt.control, tt.age, got, tt.want)
		}
	}
}

func TestARequestHasItsOwnWordOnStaleIfError(t *testing.T) {
	wish := func(cc string) requestDirectives { return readRequestDirectives([]string{cc}) }
	for _, tt := range []struct {
		control, asks string
		stale         time.Duration
		want          bool
	}{
		{"max-age=10", "", 0, false},
		{"max-age=10", "stale-if-error=60", 59 * time.Second, true},
		{"max-age=10", "stale-if-error=60", 60 * time.Second, false},
		{"max-age=10, stale-if-error=100", "stale-if-error=60", 60 * time.Second, false},
		{"max-age=10, stale-if-error=100", "stale-if-error=0", 0, false},
		{"max-age=10, stale-if-error=100", "stale-if-error=oops", 0, false},
		{"max-age=10, stale-if-error=100", "stale-if-error=10, stale-if-error=20", 0, false},
		{"max-age=10, must-revalidate", "stale-if-error=60", 0, false},
		{"s-maxage=10", "stale-if-error=60", 0, false},
		{"max-age=10, no-cache", "stale-if-error=60", 0, false},
		{"max-age=0", "stale-if-error=60", time.Second, false}, // a page for one person, as most who say that mean
		{"max-age=0, stale-if-error=30", "stale-if-error=60", 29 * time.Second, true},
		{"max-age=0, stale-if-error=30", "stale-if-error=60", 30 * time.Second, false},
	} {
		d := readAnswerDirectives([]string{tt.control})
		lifetime, _ := explicitLifetime(nil, d, epoch)
		x := terms{received: epoch, lifetime: lifetime, noCache: d.noCache, neverStale: neverStale(d), stale: windows(d, staleWindows{}, lifetime)}
		if got := standsIn(epoch.Add(lifetime+tt.stale), &x, wish(tt.asks)); got != tt.want {
			t.Errorf("%q, stale for %v, asked with %q, stands in: %v, want %v", tt.control, tt.stale, tt.asks, got, tt.want)
		}
	}
	if got := wish("stale-if-error=60").without(readIgnored([]string{"stale-if-error"})); got != (requestDirectives{}) {
		t.Errorf("what the policy ignores is honoured: %+v", got)
	}
}

// Who waits for a fetch that fails is given what is stale by his own wishes, not by the leader's.
func TestWaitersOfAFailedFetchHaveTheirOwnWishes(t *testing.T) {
	for _, leader := range []string{"stale-if-error=60", ""} {
		for _, down := range []func(*http.Request) (*http.Response, error){
			func(*http.Request) (*http.Response, error) { return nil, errOrigin },
			func(req *http.Request) (*http.Response, error) { return reply(req, 503, "", "down"), nil },
		} {
			onVirtualTime(t, func(t *testing.T) {
				e := newEdge(t, selvage.Cache{}, always(200, "Cache-Control: max-age=10", "page"))
				e.get("/")
				settled()
				time.Sleep(20 * time.Second)
				e.origin.answer = func(req *http.Request) (*http.Response, error) {
					time.Sleep(time.Second)
					return down(req)
				}
				first := e.beginGet("/", "Cache-Control", leader)
				settled()
				waits := map[string]<-chan result{}
				for _, cc := range []string{"stale-if-error=60", "stale-if-error=5", ""} {
					waits[cc] = e.beginGet("/", "Cache-Control", cc)
					settled()
				}
				stale := func(cc string, r result) {
					if got, want := r.err == nil && r.body == "page", cc == "stale-if-error=60"; got != want {
						t.Errorf("with a leader that asked with %q, who asks with %q got %d %q, %v", leader, cc, r.status, r.body, r.err)
					}
				}
				stale(leader, <-first)
				for cc, c := range waits {
					stale(cc, <-c)
				}
			})
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
