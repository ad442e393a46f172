package cache

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/selvage-edge/selvage"
)

func TestTargetedFieldsComeBeforeCacheControl(t *testing.T) {
	const cc = "Cache-Control: max-age=5\n"
	plain := answerDirectives{maxAge: seconds64(5)}
	targeted := func(d answerDirectives) answerDirectives {
		d.targeted = true
		return d
	}
	tests := []struct {
		head, surrogate string
		want            answerDirectives
	}{
		{cc, "", plain},
		{cc + "CDN-Cache-Control: max-age=60", "", targeted(answerDirectives{maxAge: seconds64(60)})},
		{cc + "CDN-Cache-Control: max-age=60, no-cache", "max-age=7", targeted(answerDirectives{maxAge: seconds64(60), noCache: true})},
		{cc + "CDN-Cache-Control: no-store", "", targeted(answerDirectives{noStore: true})},
		{cc + "CDN-Cache-Control: no-store=?0, private=?1", "", targeted(answerDirectives{private: true})},
		{cc + `CDN-Cache-Control: private="a", no-cache=("b" "c")`, "", targeted(answerDirectives{private: true, noCache: true})},
		{cc + "CDN-Cache-Control: max-age=60;x=1, ext=\"a, no-store\"", "", targeted(answerDirectives{maxAge: seconds64(60)})},
		{cc + "CDN-Cache-Control: max-age=60\nCDN-Cache-Control: max-age=61", "", targeted(answerDirectives{maxAge: seconds64(61)})},
		{cc + "CDN-Cache-Control: max-age=-1", "", targeted(answerDirectives{maxAge: seconds64(0)})},
		{cc + "CDN-Cache-Control: s-maxage=99999999999", "", targeted(answerDirectives{sharedMaxAge: seconds64(1 << 31)})},
		{cc + "CDN-Cache-Control: ext", "", targeted(answerDirectives{})},
		// What is not one is as if it were not there.
		{cc + "CDN-Cache-Control:", "", plain},
		{cc + "CDN-Cache-Control: max-age=60, &&&&", "", plain},
		{cc + `CDN-Cache-Control: max-age="60"`, "", plain},
		{cc + "CDN-Cache-Control: max-age=60.0", "", plain},
		{cc + "CDN-Cache-Control: max-age", "", plain},
		{cc + "CDN-Cache-Control: max-age=(60)", "", plain},
		{cc + "CDN-Cache-Control: Max-Age=60", "", plain},
		{cc + "CDN-Cache-Control: max-age =60", "", plain},
		{cc + "CDN-Cache-Control: max-age=60,", "", plain},
		{cc + "CDN-Cache-Control: max-age=9999999999999999", "", plain}, // beyond fifteen digits it is no integer
		{cc + "CDN-Cache-Control: oops!", "max-age=7", targeted(answerDirectives{maxAge: seconds64(7)})},
		{cc, "max-age=7, content=\"ESI/1.0\"", targeted(answerDirectives{maxAge: seconds64(7)})},
		{cc, "max-age=60+30", targeted(answerDirectives{maxAge: seconds64(60), staleWhileRevalidate: seconds64(30), staleIfError: seconds64(30)})},
		{cc, "max-age=60+30, stale-if-error=5", targeted(answerDirectives{maxAge: seconds64(60), staleWhileRevalidate: seconds64(30), staleIfError: seconds64(5)})},
		{cc, "no-store", targeted(answerDirectives{noStore: true})},
		{cc, "no-store-remote", targeted(answerDirectives{noStore: true})},
		{cc, "max-age=60;other, max-age=7", targeted(answerDirectives{maxAge: seconds64(7)})},
		{cc, "max-age=7, max-age=60;other", targeted(answerDirectives{maxAge: seconds64(7)})},
		{cc, "max-age=7, max-age=60;selvage", targeted(answerDirectives{maxAge: seconds64(60)})},
		{cc, "max-age=60+9;other, max-age=7+3;selvage", targeted(answerDirectives{maxAge: seconds64(7), staleWhileRevalidate: seconds64(3), staleIfError: seconds64(3)})},
		{cc, "no-store;other", plain},
		{cc, "max-age=60+", plain},
		{cc, "max-age=60+x", plain},
		{cc, "max-age=60 no-store", plain},
		{cc, `content="a, max-age=9`, plain},
	}
	for _, tt := range tests {
		var surrogate []string
		if tt.surrogate != "" {
			surrogate = []string{tt.surrogate}
		}
		got := control(head(tt.head), surrogate)
		if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(answerDirectives{}, delta{})); d != "" {
			t.Errorf("%s\nSurrogate-Control: %s (-want +got)\n%s", tt.head, tt.surrogate, d)
		}
	}
}

// FuzzTargeted: whatever the fields, numbers are within their bounds, and a
// no-store in a field that counts is seen.
func FuzzTargeted(f *testing.F) {
	for _, s := range []string{"max-age=60", "max-age=60+30;selvage", `a="b, c", no-store`, "private=(a b);x", "max-age=-5, &", "a=\"\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, read := range []func([]string) (answerDirectives, bool){readTargeted, readSurrogate} {
			got, ok := read([]string{line})
			if ok != got.targeted || !ok && got != (answerDirectives{}) {
				t.Errorf("%q: ok %v and %+v", line, ok, got)
			}
			for _, v := range []delta{got.maxAge, got.sharedMaxAge, got.staleWhileRevalidate, got.staleIfError} {
				if v.d < 0 || v.d > maxDelta || !v.set && v.d != 0 {
					t.Errorf("%q: number %v out of bounds", line, v)
				}
			}
			if strings.Trim(line, " ") == "" {
				continue
			}
			if more, _ := read([]string{line + ", no-store"}); ok && !more.noStore {
				t.Errorf("%q: no-store behind it is not seen", line)
			}
		}
	})
}

func TestSurrogateControlStaysHereAndOutlivesA304(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := always(200, "Surrogate-Control: max-age=100\nCache-Control: max-age=1\nEtag: \"a\"", "one")
		whole := origin.answer
		e := newEdge(t, selvage.Cache{}, origin)
		for i := range 3 {
			r := e.get("/")
			if i == 0 {
				expect(t, r, 200, "one", "selvage; fwd=uri-miss; stored")
			}
			if r.header.Get("Surrogate-Control") != "" || r.header.Get("Cache-Control") != "max-age=1" {
				t.Errorf("header %v", r.header)
			}
			settled()
			time.Sleep(99 * time.Second)
			expect(t, e.get("/"), 200, "one", "selvage; hit; ttl=1")
			time.Sleep(time.Second)
			origin.answer = notModified
		}
		origin.answer = whole
		if origin.count() != 3 {
			t.Errorf("the origin was asked %d times, want 3", origin.count())
		}
	})
}
