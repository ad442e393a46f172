package transform

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAChangedAnswerClaimsNothingOfOtherBytes(t *testing.T) {
	for tag, want := range map[string][]string{
		`"a"`: {`W/"a"`}, `W/"a"`: {`W/"a"`}, `""`: {`W/""`}, `a`: nil, `"`: nil, ``: nil,
	} {
		res := answer(nil, 99)
		res.Header["Etag"] = []string{tag}
		res.Header["Content-Length"] = []string{"99"}
		res.Header["Trailer"] = []string{"Content-Digest, Server-Timing", "repr-digest"}
		res.Header["Digest"] = []string{"md5=AA"}
		res.Trailer = http.Header{"Content-Digest": nil, "Server-Timing": nil}
		codingEffects.changed(res)
		got := http.Header{}
		for _, name := range []string{"Etag", "Content-Length", "Accept-Ranges", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5", "Trailer", "Last-Modified"} {
			if v, ok := res.Header[name]; ok {
				got[name] = v
			}
		}
		expect := http.Header{"Trailer": {"Server-Timing"}, "Last-Modified": {"Sat, 21 Nov 2026 08:00:00 GMT"}}
		if want != nil {
			expect["Etag"] = want
		}
		if diff := cmp.Diff(expect, got); diff != "" {
			t.Errorf("ETag %s (-want +got):\n%s", tag, diff)
		}
		if diff := cmp.Diff(http.Header{"Server-Timing": nil}, res.Trailer); diff != "" || res.ContentLength != -1 {
			t.Errorf("length %d, trailer (-want +got):\n%s", res.ContentLength, diff)
		}
	}
}

func TestVaryNamesTheFieldOnce(t *testing.T) {
	for _, c := range []struct{ lines, want []string }{
		{nil, []string{"Accept-Encoding"}},
		{[]string{"Origin"}, []string{"Origin", "Accept-Encoding"}},
		{[]string{"Origin, accept-encoding"}, []string{"Origin, accept-encoding"}},
		{[]string{"Origin", "*"}, []string{"Origin", "*"}},
	} {
		shared := append(make([]string, 0, 8), c.lines...)
		h := http.Header{"Vary": shared}
		codingEffects.chosen(h)
		if diff := cmp.Diff(c.want, h["Vary"]); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.lines, diff)
		}
		if len(shared) < cap(shared) && shared[:len(shared)+1][len(shared)] != "" {
			t.Errorf("%q: the values were shared and are written to", c.lines)
		}
	}
}

func TestANotModifiedNamesWhatTheClientHas(t *testing.T) {
	for _, c := range []struct {
		asks      []string
		tag, want string
	}{
		{[]string{`W/"a"`}, `"a"`, `W/"a"`},
		{[]string{`"b", W/"a" , "c"`}, `"a"`, `W/"a"`},
		{[]string{`"b"`, `W/"a"`}, `"a"`, `W/"a"`},
		{[]string{`"a"`}, `"a"`, `"a"`},
		{[]string{`"x W/"a"`}, `"a"`, `"a"`},
		{[]string{`*`}, `"a"`, `"a"`},
		{nil, `"a"`, `"a"`},
		{[]string{`W/"a"`}, `W/"a"`, `W/"a"`},
	} {
		res := &http.Response{StatusCode: 304, Header: http.Header{"Etag": {c.tag}, "Repr-Digest": {"sha-256=:AA:"}, "Accept-Ranges": {"bytes"}}}
		Chain{newCompress(t, Delivered, nil)}.Deliver(http.Header{"If-None-Match": c.asks, "Accept-Encoding": {"gzip"}}, res)
		if diff := cmp.Diff(http.Header{"Etag": {c.want}}, res.Header); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.asks, diff)
		}
	}
}

func TestADateIsNoReasonToSendAPart(t *testing.T) {
	for value, kept := range map[string]bool{
		`"a"`: true, ` "a"`: true, `W/"a"`: false, "Sat, 21 Nov 2026 08:00:00 GMT": false, "": false,
	} {
		h := http.Header{"Range": {"bytes=5-"}, "If-Range": {value}}
		Chain{newCompress(t, Delivered, nil)}.Ask(h)
		if got := len(h["Range"]) == 1 && len(h["If-Range"]) == 1; got != kept || len(h) == 1 {
			t.Errorf("If-Range %q: got %v left, want both kept: %v", value, h, kept)
		}
	}
	h := http.Header{"Range": {"bytes=5-"}}
	Chain{newCompress(t, Delivered, nil)}.Ask(h)
	if len(h["Range"]) != 1 {
		t.Error("a range without a condition was dropped")
	}
}
