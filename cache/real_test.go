package cache

import (
	"bufio"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// real is a cache in front of a server of net/http on a socket.
func real(t *testing.T, policy selvage.Cache, h http.HandlerFunc) (*Transport, string) {
	t.Helper()
	return realOver(t, 1, policy, h)
}

// realOver is real, over HTTP/1 or HTTP/2.
func realOver(t *testing.T, version int, policy selvage.Cache, h http.HandlerFunc) (*Transport, string) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(version == 1)
	server.Config.Protocols.SetUnencryptedHTTP2(version == 2)
	server.Start()
	next := &http.Transport{Protocols: server.Config.Protocols}
	store := NewStore(8 << 20)
	t.Cleanup(func() {
		store.Close()
		next.CloseIdleConnections()
		server.Close()
	})
	return NewTransport(store, Scope{Tenant: "main", Service: "shop", Policy: policy}, next), server.URL
}

func TestOverSocketsBytesArriveAsTheyCome(t *testing.T) {
	more := make(chan struct{})
	cached, url := real(t, oneMinute, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "one\n")
		w.(http.Flusher).Flush()
		<-more
		io.WriteString(w, "two\n")
	})
	var all []*http.Response
	for range 3 {
		res, err := cached.RoundTrip(get(t, url))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		line, err := bufio.NewReader(io.LimitReader(res.Body, 4)).ReadString('\n')
		if line != "one\n" || err != nil {
			t.Fatalf("the first line is %q, %v", line, err)
		}
		all = append(all, res)
	}
	close(more)
	for _, res := range all {
		if rest, err := io.ReadAll(res.Body); string(rest) != "two\n" || err != nil {
			t.Errorf("the rest is %q, %v", rest, err)
		}
	}
}

func TestOverSocketsATruncatedAnswerIsNotStored(t *testing.T) {
	tests := map[string]struct {
		version int
		fields  http.Header
	}{
		"a length":                   {1, http.Header{"Content-Length": {"100"}}},
		"a length, a strong tag":     {1, http.Header{"Content-Length": {"100"}, "Etag": {`"a"`}}},
		"chunks":                     {1, nil},
		"chunks, a strong tag":       {1, http.Header{"Etag": {`"a"`}}},
		"chunks, and trailers":       {1, http.Header{"Trailer": {"X-Sum"}}},
		"HTTP/2 with a length":       {2, http.Header{"Content-Length": {"100"}}},
		"HTTP/2 without one":         {2, nil},
		"HTTP/2 before its trailers": {2, http.Header{"Trailer": {"X-Sum"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			cached, url := realOver(t, tt.version, oneMinute, func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) > 1 {
					io.WriteString(w, "whole")
					return
				}
				maps.Copy(w.Header(), tt.fields)
				io.WriteString(w, "only this much")
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			})
			res, err := cached.RoundTrip(get(t, url))
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("got %q without an error", body)
			}
			res.Body.Close()
			res, err = cached.RoundTrip(get(t, url))
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, res); got != "whole" {
				t.Errorf("then got %q, want the whole", got)
			}
		})
	}
}

func TestOverSocketsTrailersOfAHitAreThoseThatCame(t *testing.T) {
	for version := 1; version <= 2; version++ {
		for _, announced := range []bool{true, false} {
			var asked atomic.Int32
			cached, url := realOver(t, version, oneMinute, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if announced {
					w.Header().Set("Trailer", "X-Sum")
				}
				io.WriteString(w, "page")
				w.(http.Flusher).Flush()
				w.Header().Set(http.TrailerPrefix+"X-Sum", "7")
				if announced {
					w.Header().Del(http.TrailerPrefix + "X-Sum")
					w.Header().Set("X-Sum", "7")
				}
			})
			for _, what := range []string{"first", "hit"} {
				res, err := cached.RoundTrip(get(t, url))
				if err != nil {
					t.Fatal(err)
				}
				if body := readAll(t, res); body != "page" || res.Trailer.Get("X-Sum") != "7" {
					t.Errorf("HTTP/%d, announced %v, %s: got %q with trailers %v", version, announced, what, body, res.Trailer)
				}
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("HTTP/%d, announced %v: the origin was asked %d times, want once", version, announced, n)
			}
		}
	}
}

func TestOverSocketsTheLastClientsLeavingReachesTheOrigin(t *testing.T) {
	left := make(chan struct{})
	begun := make(chan struct{})
	cached, url := real(t, oneMinute, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(left)
	})
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { // the test reads the channel
		_, err := cached.RoundTrip(get(t, url).WithContext(ctx))
		gone <- err
	}()
	<-begun
	leave()
	if err := <-gone; err == nil {
		t.Error("got an answer from an origin that gives none")
	}
	<-left
}

// A hit takes no memory but what the last one has left, be what is stored packed or not.
func TestHitAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("with the race detector a pool drops what it is given, by chance")
	}
	for _, size := range []int{1 << 10, 100 << 10} {
		e := hitEdge(t, size)
		req := get(t, "http://shop.example/a/b?c=d", "Accept", "*/*", "Accept-Encoding", "gzip", "User-Agent", "x")
		rec := new(record.Record)
		req = req.WithContext(record.NewContext(req.Context(), rec))
		if n := testing.AllocsPerRun(1000, func() {
			res, err := e.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			takeAll(res)
		}); n != 0 || !rec.Cache.Hit {
			t.Errorf("%v allocations a hit (%v) of %d bytes, want none", n, rec.Cache.Hit, size)
		}
	}
}

// hitEdge has an answer of that size and nine fields in its store.
func hitEdge(t testing.TB, size int) *Transport {
	e := NewTransport(NewStore(256<<20), Scope{Tenant: "main", Service: "shop", Policy: selvage.Cache{TTL: selvage.Duration(time.Hour)}},
		always(200, "Content-Type: text/html\nServer: nginx\nEtag: \"a\"\nLast-Modified: Sat, 21 Nov 2026 12:00:00 GMT\nVary: Accept-Encoding\nX-A: 1\nX-B: 2",
			strings.Repeat("x", size)))
	t.Cleanup(e.store.Close)
	res, err := e.RoundTrip(get(t, "http://shop.example/a/b?c=d", "Accept-Encoding", "gzip"))
	if err != nil {
		t.Fatal(err)
	}
	io.ReadAll(res.Body)
	res.Body.Close()
	for e.store.Stats().Objects == 0 {
		time.Sleep(time.Millisecond)
	}
	return e
}

func BenchmarkHit(b *testing.B) {
	e := hitEdge(b, 1<<10)
	req := get(b, "http://shop.example/a/b?c=d", "Accept", "*/*", "Accept-Encoding", "gzip", "User-Agent", "x")
	req = req.WithContext(record.NewContext(req.Context(), new(record.Record)))
	b.ReportAllocs()
	for b.Loop() {
		res, err := e.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		takeAll(res)
	}
}

// takeAll reads an answer and gives its memory back.
func takeAll(res *http.Response) {
	body := res.Body
	body.(io.WriterTo).WriteTo(io.Discard)
	body.Close()
	body.(interface{ Recycle() }).Recycle()
}

func BenchmarkMissThatIsStored(b *testing.B) {
	s := NewStore(64 << 20)
	defer s.Close()
	origin := always(200, "Cache-Control: max-age=60", strings.Repeat("x", 1024))
	e := NewTransport(s, Scope{Tenant: "main", Service: "shop"}, origin)
	req := get(b, "http://shop.example/")
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		req.URL.RawQuery = string(rune(n))
		res, err := e.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		origin.asked = origin.asked[:0]
	}
}
