package transform

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample is a filter with an answer that it changes for a request.
type sample struct {
	filter  func(m *Memory) Filter
	request http.Header
	answer  func() *http.Response
}

var samples = map[string]sample{
	"compress, delivered": {
		func(m *Memory) Filter { f, _ := NewCompress(Delivered, m, CompressOptions{}); return f },
		http.Header{"Accept-Encoding": {"gzip"}},
		func() *http.Response { return answer(io.NopCloser(bytes.NewReader(make([]byte, 5000))), 5000) },
	},
	"compress, stored": {
		func(m *Memory) Filter { f, _ := NewCompress(Stored, m, CompressOptions{}); return f },
		http.Header{"Accept-Encoding": {"br"}},
		func() *http.Response { return answer(io.NopCloser(bytes.NewReader(make([]byte, 5000))), 5000) },
	},
	"decompress": {
		func(m *Memory) Filter { return NewDecompress(m, DecompressOptions{}) },
		http.Header{},
		func() *http.Response {
			const empty = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + "\x01\x00\x00\xff\xff" + "\x00\x00\x00\x00\x00\x00\x00\x00"
			res := answer(io.NopCloser(strings.NewReader(empty)), int64(len(empty)))
			res.Header["Content-Encoding"] = []string{"gzip"}
			return res
		},
	},
}

// TestEveryFilterKeepsThePromises is what every filter must pass.
func TestEveryFilterKeepsThePromises(t *testing.T) {
	for name, s := range samples {
		t.Run(name, func(t *testing.T) {
			m := NewMemory(0)
			f := s.filter(m)
			changed := promisedChange(t, f, s)
			promisedHead(t, f, s, changed, m)
			promisedRest(t, f, s)
			settled(t, m)
		})
	}
}

// promisedChange compares what a filter does to an answer with its effects.
func promisedChange(t *testing.T, f Filter, s sample) http.Header {
	t.Helper()
	variant := f.Variant(s.request)
	if again := f.Variant(s.request.Clone()); again != variant {
		t.Errorf("the same request has the variants %q and %q", variant, again)
	}
	res := s.answer()
	if why := f.Apply(variant, res); why != "" {
		t.Fatalf("not changed: %s", why)
	}
	defer res.Body.Close()
	e, h := f.Effects(), res.Header
	if got := h.Get("Etag") == `W/"v1"`; got != e.WeakensETag {
		t.Errorf("ETag %s, weakened: %v", h.Get("Etag"), e.WeakensETag)
	}
	if got := res.ContentLength < 0 && h.Get("Content-Length") == ""; got != e.LosesLength {
		t.Errorf("length %d, lost: %v", res.ContentLength, e.LosesLength)
	}
	if got := h.Get("Accept-Ranges") == ""; got != e.LosesRanges {
		t.Errorf("Accept-Ranges %q, lost: %v", h.Get("Accept-Ranges"), e.LosesRanges)
	}
	if got := h.Get("Content-Digest")+h.Get("Repr-Digest")+h.Get("Content-Md5") == ""; got != e.LosesDigests {
		t.Errorf("digests lost: got %v, want %v", got, e.LosesDigests)
	}
	if h.Get("Vary") != e.Varies {
		t.Errorf("Vary %q, want %q", h.Get("Vary"), e.Varies)
	}
	return h.Clone()
}

// promisedHead asks with HEAD: the same head, no body and nothing borrowed.
func promisedHead(t *testing.T, f Filter, s sample, want http.Header, m *Memory) {
	t.Helper()
	lent := m.Stats().Lent
	res := s.answer()
	res.Header["Content-Length"] = []string{"5000"}
	res.Request.Method, res.Body, res.ContentLength = http.MethodHead, http.NoBody, 5000
	if why := f.Apply(f.Variant(s.request), res); why != "" {
		t.Errorf("HEAD: not changed: %s", why)
	}
	if diff := cmp.Diff(want, res.Header); diff != "" || res.Body != http.NoBody || m.Stats().Lent != lent {
		t.Errorf("HEAD: body %v, lent %d (-GET +HEAD):\n%s", res.Body, m.Stats().Lent, diff)
	}
}

// promisedRest are the answers that nobody may touch.
func promisedRest(t *testing.T, f Filter, s sample) {
	t.Helper()
	for name, dress := range map[string]func(*http.Response){
		"101":           func(r *http.Response) { r.StatusCode = 101 },
		"204":           func(r *http.Response) { r.StatusCode = 204 },
		"205":           func(r *http.Response) { r.StatusCode = 205 },
		"206":           func(r *http.Response) { r.StatusCode = 206 },
		"226":           func(r *http.Response) { r.StatusCode = 226 },
		"304":           func(r *http.Response) { r.StatusCode = 304 },
		"Content-Range": func(r *http.Response) { r.Header["Content-Range"] = []string{"bytes 1-2/3"} },
		"no-transform":  func(r *http.Response) { r.Header["Cache-Control"] = []string{"a", "no-transform"} },
		"signature":     func(r *http.Response) { r.Header["Signature-Input"] = []string{"a"} },
	} {
		res := s.answer()
		dress(res)
		before, body := res.Header.Clone(), res.Body
		if why := f.Apply(f.Variant(s.request), res); why == "" || res.Body != body || cmp.Diff(before, res.Header) != "" {
			t.Errorf("%s: got %q and the header (-before +after):\n%s", name, why, cmp.Diff(before, res.Header))
		}
	}
	request := s.request.Clone()
	request["Cache-Control"] = []string{"no-transform"}
	res := s.answer()
	if why := f.Apply(f.Variant(request), res); why != WhyUnwanted {
		t.Errorf("a request with no-transform: got %q, want %q", why, WhyUnwanted)
	}
}
