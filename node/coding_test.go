package node

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/transform"
)

// pages is an origin that answers like a server of files, so that ranges and
// conditions are its own when nobody stands in front of it.
type pages struct{ made time.Time }

func (o pages) RoundTrip(req *http.Request) (*http.Response, error) {
	w := newRecorder()
	h := w.Header()
	h.Set("Date", o.made.UTC().Format(http.TimeFormat))
	h.Set("Cache-Control", "max-age=100000")
	body := strings.Repeat(req.URL.Path+" 0123456789 ", 400)
	switch req.URL.Path {
	case "/html":
		h.Set("Content-Type", "text/html")
		h.Set("Etag", `"v1"`)
	case "/json":
		h.Set("Content-Type", "application/json")
		h.Set("Etag", `W/"v1"`)
	case "/image":
		h.Set("Content-Type", "image/png")
		h.Set("Etag", `"v1"`)
	case "/fixed":
		h.Set("Content-Type", "text/html")
		h.Set("Cache-Control", "max-age=100000, no-transform")
	case "/language":
		h.Set("Content-Type", "text/html")
		h.Set("Vary", "Accept-Language")
		body = strings.Repeat(req.Header.Get("Accept-Language")+" ", 1000)
	}
	http.ServeContent(w, req, "", o.made.Add(-time.Hour), strings.NewReader(body))
	return w.result(req), nil
}

// recorder keeps what a handler answers.
type recorder struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{status: 200, header: http.Header{}} }

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func (r *recorder) result(req *http.Request) *http.Response {
	res := &http.Response{
		StatusCode: r.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: r.header, Request: req,
		ContentLength: int64(r.body.Len()), Body: io.NopCloser(&r.body),
	}
	if r.body.Len() == 0 {
		res.ContentLength, res.Body = 0, http.NoBody
	}
	return res
}

// coded is a route's way of answering, as the node puts it together.
func coded(c coding, next http.RoundTripper) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		client := req.Header.Clone()
		c.delivered.Ask(req.Header)
		res, err := next.RoundTrip(req)
		if err == nil {
			c.delivered.Deliver(client, res)
		}
		return res, err
	}
}

// Clients that take a coding and clients that take none see the same answers, stored or not:
// the same status and, decoded, the same bytes.
func TestCompressionChangesNothingButTheCoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		origin := pages{time.Now()}
		reg := &registry{store: cache.NewStore(8 << 20), coders: transform.NewMemory(0)}
		defer reg.store.Close()
		c, err := reg.newCoding(&selvage.Compress{})
		if err != nil {
			t.Fatal(err)
		}
		scope := cache.Scope{Tenant: "main", Service: "shop", Coder: c.stored}
		ways := map[string]func(*http.Request) (*http.Response, error){
			"stored":    coded(c, cache.NewTransport(reg.store, scope, origin)),
			"delivered": coded(c, origin),
		}
		decoder := transform.NewDecompress(reg.coders, transform.DecompressOptions{})
		one := func(values ...string) string {
			if r.IntN(2) == 0 {
				return ""
			}
			return values[r.IntN(len(values))]
		}
		codings := map[string]int{}
		for i := range 1500 {
			path := []string{"/html", "/json", "/image", "/fixed", "/language"}[r.IntN(5)]
			fields := map[string]string{
				"Accept-Language": one("de", "fr"),
				"If-None-Match":   one(`"v1"`, `W/"v1"`, `"v2"`, "*"),
				"Range":           one("bytes=0-9", "bytes=-5", "bytes=9000-"),
			}
			method := http.MethodGet
			if r.IntN(6) == 0 {
				method = http.MethodHead
				delete(fields, "Range")
			}
			ask := func(accept string) *http.Request {
				req, err := http.NewRequestWithContext(t.Context(), method, "http://shop.example"+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				for name, v := range fields {
					if v != "" {
						req.Header.Set(name, v)
					}
				}
				if accept != "" {
					req.Header.Set("Accept-Encoding", accept)
				}
				return req
			}
			want, _ := origin.RoundTrip(ask(""))
			wantBody, _ := io.ReadAll(want.Body)
			accept := one("gzip, br, zstd", "gzip", "zstd, gzip;q=0.1", "br;q=1, *;q=0", "nonsense;;")
			for way, get := range ways {
				got, err := get(ask(accept))
				if err != nil {
					t.Fatal(err)
				}
				coding := got.Header.Get("Content-Encoding")
				codings[way+" "+coding]++
				if coding != "" && method == http.MethodGet {
					if why := decoder.Apply("", got); why != "" {
						t.Fatalf("%s of %s: it cannot be decoded: %s", way, path, why)
					}
				}
				body, err := io.ReadAll(got.Body)
				if err != nil {
					t.Fatal(err)
				}
				got.Body.Close()
				if got.StatusCode == http.StatusRequestedRangeNotSatisfiable {
					body = wantBody // whose words about it nobody reads
				}
				if d := cmp.Diff(want.StatusCode, got.StatusCode) + cmp.Diff(string(wantBody), string(body)); d != "" {
					t.Fatalf("request %d, %s %s %s with %v and %q: (-want +got)\n%s", i, way, method, path, fields, accept, d)
				}
				if tag := got.Header.Get("Etag"); got.StatusCode == 200 && coding != "" && want.Header.Get("Etag") != "" && tag != `W/"v1"` {
					t.Errorf("%s of %s: a coded answer has the tag %s", way, path, tag)
				}
			}
			synctest.Wait()
		}
		for _, way := range []string{"stored br", "stored zstd", "stored gzip", "stored ", "delivered br", "delivered zstd", "delivered gzip", "delivered "} {
			if codings[way] == 0 {
				t.Errorf("no answer was %q: the test tests nothing; %v", way, codings)
			}
		}
	})
}
