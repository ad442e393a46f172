package cache

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func seconds64(n int64) delta { return delta{time.Duration(n) * time.Second, true} }

func TestAnswerDirectivesAreReadToTheSafeSide(t *testing.T) {
	tests := []struct {
		lines string // divided by newlines
		want  answerDirectives
	}{
		{"", answerDirectives{}},
		{"max-age=60", answerDirectives{maxAge: seconds64(60)}},
		{"MAX-Age=60, Public", answerDirectives{maxAge: seconds64(60), public: true}},
		{"max-age=60,,  ,public", answerDirectives{maxAge: seconds64(60), public: true}},
		{"max-age=60\ns-maxage=10", answerDirectives{maxAge: seconds64(60), sharedMaxAge: seconds64(10)}},
		{`max-age="60"`, answerDirectives{maxAge: seconds64(60)}},
		{`max-age="6\0"`, answerDirectives{maxAge: seconds64(60)}},
		{"max-age=0060", answerDirectives{maxAge: seconds64(60)}},
		{"max-age=60, max-age=60", answerDirectives{maxAge: seconds64(60)}},
		// Two that differ, and numbers that are none, are no lifetime at all.
		{"max-age=60, max-age=61", answerDirectives{maxAge: seconds64(0)}},
		{"max-age=60\nmax-age=1\nmax-age=60", answerDirectives{maxAge: seconds64(0)}},
		{"max-age=-60", answerDirectives{maxAge: seconds64(0)}},
		{"max-age=+60", answerDirectives{maxAge: seconds64(0)}},
		{"max-age=60.5", answerDirectives{maxAge: seconds64(0)}},
		{"max-age=1e3", answerDirectives{maxAge: seconds64(0)}},
		{"max-age='60'", answerDirectives{maxAge: seconds64(0)}},
		{"max-age", answerDirectives{maxAge: seconds64(0)}},
		{"max-age=", answerDirectives{maxAge: seconds64(0)}},
		{`max-age=""`, answerDirectives{maxAge: seconds64(0)}},
		{`max-age="60, public"`, answerDirectives{maxAge: seconds64(0)}},
		// Too large is as large as can be.
		{"max-age=2147483648", answerDirectives{maxAge: seconds64(1 << 31)}},
		{"max-age=99999999999999999999999999", answerDirectives{maxAge: seconds64(1 << 31)}},
		// Arguments where none belong change nothing; field names neither.
		{"no-store=1", answerDirectives{noStore: true}},
		{`private="Set-Cookie"`, answerDirectives{private: true}},
		{`no-cache="Set-Cookie, X-User", max-age=5`, answerDirectives{noCache: true, maxAge: seconds64(5)}},
		// What stands in a quoted string is not a directive.
		{`ext="no-store, max-age=5"`, answerDirectives{}},
		{`ext="a\"b, no-store", max-age=5`, answerDirectives{maxAge: seconds64(5)}},
		{"x-no-store, no-store-x", answerDirectives{}},
		{"must-revalidate, proxy-revalidate, must-understand",
			answerDirectives{mustRevalidate: true, proxyRevalidate: true, mustUnderstand: true}},
		{"stale-while-revalidate=5, stale-if-error=oops",
			answerDirectives{staleWhileRevalidate: seconds64(5), staleIfError: seconds64(0)}},
		// What does not parse forbids storing.
		{`ext="no-store, max-age=5`, answerDirectives{malformed: true}},
		{`max-age=5, ext="abc\`, answerDirectives{malformed: true, maxAge: seconds64(5)}},
		{"max-age=60; public", answerDirectives{malformed: true, maxAge: seconds64(0)}},
		{"public; max-age=60", answerDirectives{malformed: true, public: true}},
		{"max-age=60 no-store", answerDirectives{malformed: true, maxAge: seconds64(0)}},
		{"public no-store", answerDirectives{malformed: true, public: true}},
		{"max-age =60", answerDirectives{malformed: true, maxAge: seconds64(0)}},
		{"max-age= 60", answerDirectives{malformed: true, maxAge: seconds64(0)}},
		{`max-age="60"0`, answerDirectives{malformed: true, maxAge: seconds64(0)}},
		{"max-age=60, \x00", answerDirectives{malformed: true, maxAge: seconds64(60)}},
		{"nö-store, max-age=60", answerDirectives{malformed: true, maxAge: seconds64(60)}},
		{"=5, max-age=60", answerDirectives{malformed: true, maxAge: seconds64(60)}},
		{"ext=, max-age=60", answerDirectives{malformed: true, maxAge: seconds64(60)}},
	}
	for _, tt := range tests {
		got := readAnswerDirectives(strings.Split(tt.lines, "\n"))
		if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(answerDirectives{}, delta{})); d != "" {
			t.Errorf("Cache-Control %q: (-want +got)\n%s", tt.lines, d)
		}
	}
}

func TestRequestDirectivesAreReadSoThatTheOriginIsAsked(t *testing.T) {
	tests := []struct {
		line string
		want requestDirectives
	}{
		{"", requestDirectives{}},
		{"no-cache, no-store, only-if-cached", requestDirectives{noCache: true, noStore: true, onlyIfCached: true}},
		{"max-age=0", requestDirectives{maxAge: seconds64(0)}},
		{"max-age=oops", requestDirectives{maxAge: seconds64(0)}},
		{"max-age=5, max-age=6", requestDirectives{maxAge: seconds64(0)}},
		{"min-fresh=5, min-fresh=6", requestDirectives{minFresh: seconds64(6)}},
		{"min-fresh", requestDirectives{minFresh: delta{maxDelta, true}}},
		{"min-fresh=-1", requestDirectives{minFresh: delta{maxDelta, true}}},
		{"max-stale", requestDirectives{maxStale: delta{maxDelta, true}}},
		{"max-stale=10", requestDirectives{maxStale: seconds64(10)}},
		{"max-stale=10, max-stale=20", requestDirectives{maxStale: seconds64(0)}},
		{"max-stale=oops", requestDirectives{}},
		{"max-stale=", requestDirectives{}},
		{"max-stale 10", requestDirectives{noCache: true, maxStale: delta{maxDelta, true}}},
		{`no-transform="`, requestDirectives{noCache: true}},
	}
	for _, tt := range tests {
		got := readRequestDirectives([]string{tt.line})
		if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(requestDirectives{}, delta{})); d != "" {
			t.Errorf("Cache-Control %q: (-want +got)\n%s", tt.line, d)
		}
	}
}

// FuzzDirectives: whatever the field, numbers are within their bounds, an
// appended no-store is seen or the field is malformed, and the canonical form of a
// well-formed field reads the same.
func FuzzDirectives(f *testing.F) {
	for _, s := range []string{"max-age=60", `private="a, b"`, `ext="\"`, "a=b c", "max-age==5", `x="a"b,c`, "\x80=,", "max-age=\t1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := readAnswerDirectives([]string{line})
		for _, v := range []delta{got.maxAge, got.sharedMaxAge, got.staleWhileRevalidate, got.staleIfError} {
			if v.d < 0 || v.d > maxDelta || !v.set && v.d != 0 {
				t.Errorf("%q: number %v out of bounds", line, v)
			}
		}
		if more := readAnswerDirectives([]string{line + ", no-store"}); !more.noStore && !more.malformed {
			t.Errorf("%q: an appended no-store is lost", line)
		}
		if more := readAnswerDirectives([]string{line, "no-store"}); !more.noStore {
			t.Errorf("%q: a no-store on a line of its own is lost", line)
		}
		if got.malformed {
			return
		}
		var canonical []string
		for d := range directives([]string{line}) {
			s := d.name
			if d.hasArg {
				s += `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(d.arg) + `"`
			}
			canonical = append(canonical, s)
		}
		again := readAnswerDirectives([]string{strings.Join(canonical, ", ")})
		if d := cmp.Diff(got, again, cmp.AllowUnexported(answerDirectives{}, delta{})); d != "" {
			t.Errorf("%q reads differently in its canonical form %q:\n%s", line, canonical, d)
		}
	})
}
