package cache

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/selvage-edge/selvage"
)

// zipper makes one form: gzip.
type zipper struct {
	mu   sync.Mutex // guards made
	made int
	hold chan struct{} // if not nil, bodies wait for it before their end
}

func (z *zipper) Variant(h http.Header) string {
	if strings.Contains(h.Get("Accept-Encoding"), "gzip") && len(h["Range"]) == 0 {
		return "gzip"
	}
	return ""
}

func (z *zipper) Apply(variant string, res *http.Response) string {
	res.Header["Vary"] = []string{"Accept-Encoding"}
	if res.Request == nil || res.Request.Method != http.MethodHead {
		z.mu.Lock()
		z.made++
		z.mu.Unlock()
		res.Body = z.zipped(res.Body)
	}
	res.Header["Content-Encoding"] = []string{variant}
	delete(res.Header, "Content-Length")
	if tag := res.Header["Etag"]; len(tag) > 0 {
		res.Header["Etag"] = []string{"W/" + strings.TrimPrefix(tag[0], "W/")}
	}
	return ""
}

func (z *zipper) count() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.made
}

// zippedBody compresses all that it is given when the last byte of it is there.
type zippedBody struct {
	src  io.ReadCloser
	hold chan struct{}
	out  *bytes.Reader
}

func (z *zipper) zipped(src io.ReadCloser) io.ReadCloser { return &zippedBody{src: src, hold: z.hold} }

func (b *zippedBody) Read(p []byte) (int, error) {
	if b.out == nil {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		if _, err := io.Copy(w, b.src); err != nil {
			return 0, err
		}
		if err := w.Close(); err != nil {
			return 0, err
		}
		if b.hold != nil {
			<-b.hold
		}
		b.out = bytes.NewReader(buf.Bytes())
	}
	return b.out.Read(p)
}

func (b *zippedBody) Close() error { return b.src.Close() }

func unzipped(t *testing.T, r result) string {
	t.Helper()
	if r.err != nil || r.header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("got %d with coding %q and error %v, want gzip", r.status, r.header.Get("Content-Encoding"), r.err)
	}
	z, err := gzip.NewReader(strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func newCodedEdge(t *testing.T, z *zipper, limit selvage.ByteSize, origin *script) *edge {
	store := NewStore(limit)
	t.Cleanup(store.Close)
	scope := shop
	scope.Coder = z
	return &edge{Transport: NewTransport(store, scope, origin), t: t, origin: origin}
}

const page = "Content-Type: text/html\nEtag: \"v1\"\nCache-Control: max-age=60"

var acceptGzip = []string{"Accept-Encoding", "gzip"}

func TestAFormIsMadeOnceAndCounted(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		z := new(zipper)
		body := strings.Repeat("selvage ", 10000)
		e := newCodedEdge(t, z, 8<<20, always(200, page, body))
		e.get("/a")
		settled()
		plain := e.store.Stats().Bytes
		for range 3 {
			if got := unzipped(t, e.get("/a", acceptGzip...)); got != body {
				t.Fatalf("got %d bytes, want %d", len(got), len(body))
			}
			settled()
		}
		stats := e.store.Stats()
		if n := z.count(); n != 1 || e.origin.count() != 1 {
			t.Errorf("%d forms were made of %d fetches, want 1 of 1", n, e.origin.count())
		}
		if stats.Bytes <= plain || stats.Receiving != 0 {
			t.Errorf("%d bytes with the form and %d without, %d being received", stats.Bytes, plain, stats.Receiving)
		}
		e.store.Forget()
		if stats := e.store.Stats(); stats.Bytes != 0 || stats.Receiving != 0 {
			t.Errorf("%d bytes are left, %d being received", stats.Bytes, stats.Receiving)
		}
	})
}

// The form that the first request wants is made while the answer comes in, and is
// counted when that is stored.
func TestAFormOfAnAnswerThatComesInIsCounted(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		z := new(zipper)
		body := strings.Repeat("selvage ", 10000)
		e := newCodedEdge(t, z, 8<<20, always(200, page, body))
		if got := unzipped(t, e.get("/a", acceptGzip...)); got != body {
			t.Fatalf("got %d bytes, want %d", len(got), len(body))
		}
		settled()
		if stats := e.store.Stats(); stats.Bytes < int64(len(body)) || stats.Receiving != 0 {
			t.Errorf("%d bytes, %d being received", stats.Bytes, stats.Receiving)
		}
		got := e.get("/a", acceptGzip...)
		if unzipped(t, got) != body || got.header.Get("Content-Length") != fmt.Sprint(len(got.body)) || z.count() != 1 {
			t.Errorf("got %v after %d forms", got.header, z.count())
		}
		if a := &got.rec.Answer; a.Coding != "gzip" || a.UncodedBytes != int64(len(body)) {
			t.Errorf("the record has %q and %d", a.Coding, a.UncodedBytes)
		}
	})
}

func TestWhatCannotBeCompressedIsTriedOnce(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		z := new(zipper)
		noise := make([]byte, 100<<10)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		e := newCodedEdge(t, z, 8<<20, always(200, page, string(noise)))
		e.get("/a", acceptGzip...)
		settled()
		for range 2 {
			got := e.get("/a", acceptGzip...)
			if got.body != string(noise) || got.header.Get("Content-Encoding") != "" || got.header.Get("Etag") != `"v1"` {
				t.Errorf("got %v", got.header)
			}
			if got.header.Get("Vary") != "Accept-Encoding" || !got.rec.Cache.Incompressible {
				t.Errorf("it is not told that a choice was made: %v", got.header)
			}
		}
		if n := z.count(); n != 1 {
			t.Errorf("%d forms were made", n)
		}
	})
}

func TestWithoutRoomTheAnswerGoesOutAsItIs(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		z := new(zipper)
		body := strings.Repeat("selvage ", 10000)
		e := newCodedEdge(t, z, 1<<20, always(200, page, body))
		e.get("/a")
		settled()
		if !e.store.reserve(e.store.limit / receivingShare) {
			t.Fatal("the store has no room to take")
		}
		if got := e.get("/a", acceptGzip...); got.body != body || z.count() != 0 {
			t.Errorf("got %v after %d forms", got.header, z.count())
		}
		e.store.release(e.store.limit / receivingShare)
		if got := unzipped(t, e.get("/a", acceptGzip...)); got != body {
			t.Errorf("got %d bytes, want %d", len(got), len(body))
		}
	})
}

// A hard purge while a form is made: who asked before gets it, nobody after does.
func TestAPurgeEndsFormsThatAreBeingMade(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		z := &zipper{hold: make(chan struct{})}
		version := 0
		e := newCodedEdge(t, z, 8<<20, &script{answer: func(req *http.Request) (*http.Response, error) {
			version++
			return reply(req, 200, page, strings.Repeat(fmt.Sprint("version ", version, " "), 1000)), nil
		}})
		e.get("/a")
		settled()
		before := make(chan result, 1)
		go func() { before <- e.get("/a", acceptGzip...) }()
		settled()
		e.store.Purge(Purge{Tenant: shop.Tenant, Service: shop.Service, All: true})
		after := make(chan result, 1)
		go func() { after <- e.get("/a", acceptGzip...) }()
		settled()
		close(z.hold)
		if got := unzipped(t, <-before); !strings.HasPrefix(got, "version 1 ") {
			t.Errorf("who asked before got %.20q", got)
		}
		if got := unzipped(t, <-after); !strings.HasPrefix(got, "version 2 ") {
			t.Errorf("who asked after got %.20q", got)
		}
		settled()
		if stats := e.store.Stats(); stats.Receiving != 0 {
			t.Errorf("%d bytes are still being received", stats.Receiving)
		}
	})
}

func TestABrokenSourceBreaksTheForm(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		z := new(zipper)
		var broken *slowBody
		e := newCodedEdge(t, z, 8<<20, &script{answer: func(req *http.Request) (*http.Response, error) {
			res := reply(req, 200, page, strings.Repeat("x", 9000))
			broken = newSlowBody(req)
			broken.broken = errOrigin
			res.Body = broken
			return res, nil
		}})
		got := make(chan result, 1)
		go func() { got <- e.get("/a", acceptGzip...) }()
		settled()
		broken.parts <- strings.Repeat("x", 5000)
		close(broken.parts)
		if r := <-got; r.err == nil {
			t.Errorf("%d bytes came to a good end", len(r.body))
		}
		settled()
		// What came is kept as a part of the page, and no form of it.
		if stats := e.store.Stats(); stats.Objects != 1 || stats.Receiving != 0 || stats.Bytes > 9000 {
			t.Errorf("%+v is left", stats)
		}
		e.store.check(t)
	})
}

func TestAnswersOfOneUserHaveNoForms(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		z := new(zipper)
		for _, vary := range []string{"Cookie", "Authorization", "Accept-Language, Cookie", "Client-Cert", "Client-Cert-Chain"} {
			e := newCodedEdge(t, z, 8<<20, always(200, page+", public\nVary: "+vary, strings.Repeat("secret ", 1000)))
			for range 2 {
				got := e.get("/a", "Accept-Encoding", "gzip", "Cookie", "session=1")
				if got.err != nil || got.header.Get("Content-Encoding") != "" {
					t.Errorf("with Vary: %s it is %s", vary, got.header.Get("Content-Encoding"))
				}
				settled()
			}
		}
		if z.count() != 0 {
			t.Errorf("%d forms were made", z.count())
		}
	})
}

// Readers of all forms, purges, changes and evictions at once, in real time: every
// answer decodes to one version, and at the end everything is counted.
func TestFormsUnderLoadStayWholeAndCounted(t *testing.T) {
	for name, limit := range map[string]selvage.ByteSize{"that evicts": 256 << 10, "that packs": 64 << 20} {
		t.Run("a store "+name, func(t *testing.T) { formsUnderLoad(t, limit) })
	}
}

func formsUnderLoad(t *testing.T, limit selvage.ByteSize) {
	z := new(zipper)
	origin := &script{answer: func(req *http.Request) (*http.Response, error) {
		return reply(req, 200, page+"\nSurrogate-Key: all", strings.Repeat(req.URL.Path+" ", 3000)), nil
	}}
	e := newCodedEdge(t, z, limit, origin)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 60 {
				path := fmt.Sprint("/", (worker*7+i)%12)
				want := strings.Repeat(path+" ", 3000)
				got := e.get(path, "Accept-Encoding", []string{"gzip", "identity"}[i%2])
				if got.err != nil {
					t.Errorf("%s: %v", path, got.err)
					continue
				}
				body := got.body
				if got.header.Get("Content-Encoding") == "gzip" {
					r, err := gzip.NewReader(strings.NewReader(body))
					if err != nil {
						t.Error(err)
						continue
					}
					plain, err := io.ReadAll(r)
					if err != nil {
						t.Error(err)
					}
					body = string(plain)
				}
				if body != want {
					t.Errorf("%s: got %d bytes, want %d", path, len(body), len(want))
				}
				if i%20 == 19 {
					e.store.Purge(Purge{Tenant: shop.Tenant, Service: shop.Service, Tags: []selvage.Tag{"all"}})
				}
			}
		})
	}
	wg.Wait()
	e.store.Close() // waits for what is being made
	e.store.Forget()
	stats := e.store.Stats()
	if stats.Bytes != 0 || stats.Objects != 0 || stats.Receiving != 0 {
		t.Errorf("%+v is left", stats)
	}
	e.store.checkSent(t)
}

// Who reads a form keeps its bytes, when the answer has gone, is packed, or while it is made.
func TestAFormThatIsReadCountsUntilItIsSent(t *testing.T) {
	for _, size := range []int{100, 20_000} { // the smaller one is packed with its form
		onVirtualTime(t, func(t *testing.T) {
			z := new(zipper)
			body := strings.Repeat("selvage ", size)
			e := newCodedEdge(t, z, 64<<20, always(200, page, body))
			open := func() *http.Response {
				res, err := e.RoundTrip(get(t, "http://shop.example/", acceptGzip...))
				if err != nil || res.Header.Get("Content-Encoding") != "gzip" {
					t.Fatalf("got %v, %v", res, err)
				}
				settled()
				return res
			}
			e.get("/")
			settled()
			z.hold = make(chan struct{})
			made := open()
			close(z.hold)
			settled()
			whole := open()
			e.store.Forget()
			if got := e.store.Stats(); got.Bytes != 0 || got.Sending == 0 {
				t.Errorf("of %d bytes, which are read and not stored any more, it counts %+v", len(body), got)
			}
			for _, res := range []*http.Response{made, whole} {
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					t.Error(err)
				}
				res.Body.Close()
			}
			e.store.checkSent(t)
		})
	}
}
