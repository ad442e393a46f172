package cache

import (
	"net/http"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// notModified answers 304 to everything.
func notModified(req *http.Request) (*http.Response, error) { return reply(req, 304, "", ""), nil }

func TestHeadTellsOfTheStoredGet(t *testing.T) {
	const stored = "Cache-Control: max-age=10\nEtag: \"a\"\nX-Version: 1"
	tests := []struct {
		name, head string
		length     int
		request    []string
		status     int
		want       string // Cache-Status of the GET after it
		version    string
	}{
		{"the same", "Etag: \"a\"\nX-Version: 2\nCache-Control: max-age=20", 3, nil, 200, "selvage; hit; ttl=20", "2"},
		{"nothing of it", "X-Version: 2", 3, nil, 200, "selvage; hit; ttl=10", "2"},
		{"another tag", "Etag: \"b\"\nX-Version: 2", 3, nil, 200, "selvage; fwd=stale; fwd-status=200; stored", "1"},
		{"another date", "Last-Modified: Sat, 21 Nov 2020 12:00:00 GMT", 3, nil, 200, "selvage; fwd=stale; fwd-status=200; stored", "1"},
		{"another length", "Etag: \"a\"", 4, nil, 200, "selvage; fwd=stale; fwd-status=200; stored", "1"},
		{"no-store", "Etag: \"a\"\nCache-Control: no-store", 3, nil, 200, "selvage; fwd=uri-miss; stored", "1"},
		{"an error", "X-Version: 2", 9, nil, 404, "selvage; hit; ttl=5", "1"},
		{"with a cookie", "Etag: \"b\"", 3, []string{"Cookie", "a=b"}, 200, "selvage; hit; ttl=5", "1"},
		{"with credentials", "Etag: \"b\"", 3, []string{"Authorization", "Basic x"}, 200, "selvage; hit; ttl=5", "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				origin := &script{answer: func(req *http.Request) (*http.Response, error) {
					if req.Method == http.MethodHead {
						return reply(req, tt.status, tt.head, "letters are many"[:tt.length]), nil
					}
					return reply(req, 200, stored, "one"), nil
				}}
				e := newEdge(t, selvage.Cache{}, origin)
				e.get("/")
				settled()
				time.Sleep(5 * time.Second)
				req := get(t, "http://shop.example/", append(tt.request, "Cache-Control", "no-cache")...)
				req.Method = http.MethodHead
				if r := e.do(req); r.status != tt.status {
					t.Fatalf("HEAD got %d, %v", r.status, r.err)
				}
				r := e.get("/")
				expect(t, r, 200, "one", tt.want)
				if r.header.Get("X-Version") != tt.version {
					t.Errorf("version %q, want %q", r.header.Get("X-Version"), tt.version)
				}
				settled()
				e.store.check(t)
			})
		})
	}
}
