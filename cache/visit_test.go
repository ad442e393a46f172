package cache

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// TestRecycledMemoryIsNobodyElses lets many requests use each other's memory, while what is
// stored moves, and looks at all that each was given until it gives it back.
func TestRecycledMemoryIsNobodyElses(t *testing.T) {
	bodyOf := func(path string) string { return strings.Repeat(path+" ", 1+len(path)*int(path[len(path)-1]-'0')) }
	s := NewStore(64 << 10)
	defer s.Close()
	e := NewTransport(s, Scope{Tenant: "main", Service: "shop", Policy: selvage.Cache{TTL: selvage.Duration(time.Hour)}},
		&script{answer: func(req *http.Request) (*http.Response, error) {
			p := req.URL.Path
			return reply(req, 200, "X-Path: "+p+"\nVary: X\nEtag: \""+p+"\"", bodyOf(p)), nil
		}})
	var hits sync.Map
	var asTheyLie atomic.Int64
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 300 {
				path := fmt.Sprint("/", (worker*7+i)%60)
				req := get(t, "http://shop.example"+path, "X", fmt.Sprint(i%3))
				rec := new(record.Record)
				if r := e.Ready(rec, req.Header, req.URL); r != nil {
					fields := string(r.AppendFields(nil))
					if string(r.Body()) != bodyOf(path) || !strings.Contains(fields, "\r\nX-Path: "+path+"\r\n") || !strings.Contains(fields, "Etag: \""+path+"\"") {
						t.Errorf("asked for %s and got %s, %.60q", path, fields, r.Body())
					}
					asTheyLie.Add(1)
					if r.Close(); i%2 == 0 {
						continue
					}
					rec = new(record.Record) // of the next request
				}
				res, err := e.RoundTrip(req.WithContext(record.NewContext(req.Context(), rec)))
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				if string(body) != bodyOf(path) || err != nil || res.Header.Get("X-Path") != path || res.Header.Get("Etag") != `"`+path+`"` {
					t.Errorf("asked for %s and got %v, %.60q, %v", path, res.Header, body, err)
				}
				if rec.Cache.Hit {
					hits.Store(path, true)
					if age := res.Header["Age"]; len(age) != 1 || !strings.HasPrefix(res.Header.Get("Cache-Status"), "selvage; hit; ttl=") {
						t.Errorf("a hit has %v", res.Header)
					}
				}
				given := res.Body
				given.Close()
				if r, ok := given.(interface{ Recycle() }); ok {
					r.Recycle()
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for range hits.Range {
		n++
	}
	if stats := s.Stats(); n < 20 || asTheyLie.Load() < 20 || stats.Evictions == 0 || s.slabs.live == 0 {
		t.Errorf("%d of 60 paths were hits, %d as they lie, %+v", n, asTheyLie.Load(), stats)
	}
}
