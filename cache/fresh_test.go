package cache

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// head reads header fields from lines of text.
func head(text string) http.Header {
	h := make(http.Header)
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\n"), ":")
		if ok {
			h.Add(strings.TrimSpace(name), strings.TrimPrefix(value, " "))
		}
	}
	return h
}

func httpDate(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

func TestLifetimeComesFromTheFirstThatSaysOne(t *testing.T) {
	date := "Date: " + httpDate(epoch) + "\n"
	in := func(d time.Duration) string { return "Expires: " + httpDate(epoch.Add(d)) + "\n" }
	tests := []struct {
		head string
		want time.Duration
		ok   bool
	}{
		{date, 0, false},
		{date + "Cache-Control: public", 0, false},
		{date + "Cache-Control: no-cache", 0, true},
		{date + "Cache-Control: max-age=5", 5 * time.Second, true},
		{date + "Cache-Control: max-age=5, s-maxage=7", 7 * time.Second, true},
		{date + in(time.Hour) + "Cache-Control: max-age=5", 5 * time.Second, true},
		{date + in(time.Hour) + "Cache-Control: max-age=oops", 0, true},
		{date + in(time.Hour) + "Cache-Control: s-maxage=0, max-age=100", 0, true},
		{date + in(time.Hour), time.Hour, true},
		{date + in(-time.Hour), 0, true},
		{date + in(0), 0, true},
		{in(time.Hour), time.Hour, true}, // without Date, from when it came
		{"Date: oops\n" + in(time.Hour), time.Hour, true},
		{"Date: " + httpDate(epoch.Add(-time.Hour)) + "\n" + in(time.Hour), 2 * time.Hour, true},
		{date + "Expires: 0", 0, true},
		{date + "Expires: -1", 0, true},
		{date + "Expires:", 0, true},
		{date + "Expires: Thu, 01 Jan 1970 00:00:00 UTC", 0, true},
		{date + in(time.Hour) + in(2*time.Hour), 0, true},
		{date + in(time.Hour) + in(time.Hour), time.Hour, true},
		{date + "Expires: Fri, 31 Dec 9999 23:59:59 GMT", maxDelta, true},
	}
	for _, tt := range tests {
		h := head(tt.head)
		got, from := explicitLifetime(h, readAnswerDirectives(h["Cache-Control"]), epoch)
		ok := from != fromNothing
		if got != tt.want || ok != tt.ok {
			t.Errorf("lifetime of\n%s= %v, %v; want %v, %v", tt.head, got, ok, tt.want, tt.ok)
		}
	}
}

func TestInitialAgeIsTheGreaterOfWhatClockAndFieldSay(t *testing.T) {
	ago := func(d time.Duration) string { return "Date: " + httpDate(epoch.Add(-d)) + "\n" }
	tests := []struct {
		head  string
		delay time.Duration
		want  time.Duration
	}{
		{"", 0, 0},
		{ago(0), 0, 0},
		{ago(10 * time.Second), 0, 10 * time.Second},
		{ago(-10 * time.Second), 0, 0}, // a clock ahead of ours makes nothing younger
		{ago(0), 2 * time.Second, 2 * time.Second},
		{ago(0) + "Age: 7", 0, 7 * time.Second},
		{ago(0) + "Age: 7", 2 * time.Second, 9 * time.Second},
		{ago(20*time.Second) + "Age: 7", 2 * time.Second, 20 * time.Second},
		{ago(0) + "Age: 7, 100", 0, 7 * time.Second},
		{ago(0) + "Age: 7\nAge: 100", 0, 7 * time.Second},
		{ago(0) + "Age: 007", 0, 7 * time.Second},
		{ago(0) + "Age: -7", 0, 0},
		{ago(0) + "Age: +7", 0, 0},
		{ago(0) + "Age: 7.0", 0, 0},
		{ago(0) + `Age: "7"`, 0, 0},
		{ago(0) + "Age: 7s", 0, 0},
		{ago(0) + "Age: ", 0, 0},
		{ago(0) + "Age: 2147483647", 0, maxDelta - time.Second},
		{ago(0) + "Age: 99999999999999999999", time.Hour, maxDelta},
		{"Date: Fri, 01 Jan 1700 00:00:00 GMT", 0, maxDelta},
		{"Date: oops", 3 * time.Second, 3 * time.Second},
	}
	for _, tt := range tests {
		if got := initialAge(head(tt.head), epoch.Add(-tt.delay), epoch); got != tt.want {
			t.Errorf("initial age of %q after %v = %v, want %v", tt.head, tt.delay, got, tt.want)
		}
	}
	if got := initialAge(head(ago(0)), epoch, epoch.Add(900*time.Millisecond)); got != 900*time.Millisecond {
		t.Errorf("a Date without fractions made the answer %v old, want its delay of 900ms", got)
	}
}

func TestVerdict(t *testing.T) {
	const lifetime = 60 * time.Second
	stale := staleWindows{whileRevalidate: 30 * time.Second}
	tests := []struct {
		name    string
		terms   terms
		age     time.Duration
		request string
		want    verdict
	}{
		{"new", terms{}, 0, "", useFresh},
		{"its last moment", terms{}, lifetime - 1, "", useFresh},
		{"its end", terms{}, lifetime, "", needsValidation},
		{"age it came with", terms{initialAge: 30 * time.Second}, 30 * time.Second, "", needsValidation},
		{"clock set back", terms{}, -time.Hour, "", useFresh},
		{"no-cache", terms{noCache: true}, 0, "", needsValidation},
		{"no-cache and max-stale", terms{noCache: true}, 0, "max-stale", needsValidation},
		{"reload", terms{}, 0, "no-cache", requestForbids},
		{"immutable and max-age", terms{immutable: true}, 10 * time.Second, "max-age=0", useFresh},
		{"immutable and a reload", terms{immutable: true}, 10 * time.Second, "no-cache", requestForbids},
		{"immutable and min-fresh", terms{immutable: true}, 51 * time.Second, "min-fresh=10", requestForbids},
		{"immutable, stale and max-age", terms{immutable: true, stale: stale}, lifetime, "max-age=0", needsValidation},
		{"max-age kept", terms{}, 10 * time.Second, "max-age=10", useFresh},
		{"max-age passed", terms{}, 11 * time.Second, "max-age=10", requestForbids},
		{"min-fresh kept", terms{}, 50 * time.Second, "min-fresh=10", useFresh},
		{"min-fresh not kept", terms{}, 51 * time.Second, "min-fresh=10", requestForbids},
		{"in the window", terms{stale: stale}, lifetime, "", useWhileRefresh},
		{"end of the window", terms{stale: stale}, lifetime + 30*time.Second, "", needsValidation},
		{"reload in the window", terms{stale: stale}, lifetime, "no-cache", needsValidation},
		{"max-age in the window", terms{stale: stale}, lifetime, "max-age=10", needsValidation},
		{"window that is forbidden", terms{stale: stale, neverStale: true}, lifetime, "", needsValidation},
		{"max-stale", terms{}, 2 * lifetime, "max-stale", useAllowedStale},
		{"max-stale kept", terms{}, lifetime + 5*time.Second, "max-stale=5", useAllowedStale},
		{"max-stale passed", terms{}, lifetime + 6*time.Second, "max-stale=5", needsValidation},
		{"max-stale forbidden", terms{neverStale: true}, lifetime, "max-stale", needsValidation},
		{"max-stale and max-age", terms{}, lifetime, "max-stale, max-age=5", needsValidation},
	}
	for _, tt := range tests {
		tt.terms.received, tt.terms.lifetime = epoch, lifetime
		got := judge(epoch.Add(tt.age), &tt.terms, readRequestDirectives([]string{tt.request}))
		if got != tt.want {
			t.Errorf("%s: got verdict %d, want %d", tt.name, got, tt.want)
		}
	}
}

// What an answer says of its use is what is done with it.
func TestAnswerIsUsedAsItSays(t *testing.T) {
	policy := oneMinute
	policy.StaleWhileRevalidate = selvage.Duration(time.Hour)
	for _, tt := range []struct {
		says  string
		age   time.Duration
		asks  string
		asked bool
	}{
		{"max-age=60", 30 * time.Second, "max-age=0", true},
		{"max-age=60, immutable", 30 * time.Second, "max-age=0", false},
		{"max-age=60, immutable", 30 * time.Second, "no-cache", true},
		{"max-age=60", 61 * time.Second, "", false}, // stale, and a new one is fetched behind it
		{"max-age=60, must-revalidate", 61 * time.Second, "", true},
		{"max-age=60, proxy-revalidate", 61 * time.Second, "", true},
		{"s-maxage=60", 61 * time.Second, "", true},
		{"max-age=60, no-cache", 0, "", true},
		{"max-age=60, must-revalidate", 61 * time.Second, "max-stale", true},
	} {
		onVirtualTime(t, func(t *testing.T) {
			e := newEdge(t, policy, counted(0, "Etag: \"a\"\nCache-Control: "+tt.says))
			e.get("/")
			settled()
			time.Sleep(tt.age)
			if r := e.get("/", "Cache-Control", tt.asks); (r.body == "2") != tt.asked {
				t.Errorf("%s after %v, asked for with %q: got %q with %q, want a new one %v", tt.says, tt.age, tt.asks, r.body, r.cacheStatus(), tt.asked)
			}
			time.Sleep(RefreshJitter)
		})
	}
}

func TestArithmeticDoesNotOverflow(t *testing.T) {
	old := terms{received: epoch, initialAge: maxDelta, lifetime: maxDelta, stale: staleWindows{maxDelta, maxDelta}}
	now := epoch.AddDate(290, 0, 0)
	if age := old.age(now); age < maxDelta {
		t.Errorf("age %v after centuries", age)
	}
	if judge(now, &old, requestDirectives{}) == useFresh {
		t.Error("an answer from centuries ago is fresh")
	}
}

func TestLifetimeIsGuessedFromLastModified(t *testing.T) {
	date := "Date: " + httpDate(epoch) + "\n"
	ago := func(d time.Duration) string { return "Last-Modified: " + httpDate(epoch.Add(-d)) + "\n" }
	for _, tt := range []struct {
		head string
		want time.Duration
	}{
		{date, 0},
		{date + ago(100*time.Second), 10 * time.Second},
		{ago(100 * time.Second), 10 * time.Second},
		{date + ago(0), 0},
		{date + ago(-time.Hour), 0}, // changed in the future
		{date + ago(240*time.Hour), time.Hour},
		{date + "Last-Modified: oops", 0},
		{date + ago(time.Hour) + ago(2*time.Hour), 0},
	} {
		if got := heuristicLifetime(head(tt.head), epoch); got != tt.want {
			t.Errorf("lifetime guessed of\n%s= %v, want %v", tt.head, got, tt.want)
		}
	}
}
