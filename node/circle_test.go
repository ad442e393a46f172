package node

import (
	"net/http"
	"testing"

	"github.com/selvage-edge/selvage/record"
)

func TestARedirectToItselfIsACircle(t *testing.T) {
	for _, tc := range []struct {
		name, method, path, query string
		tls                       uint16
		status                    int
		to                        string
		cookie                    bool
		want                      bool
	}{
		{name: "path", to: "/cart", want: true},
		{name: "empty reference", to: "", want: true},
		{name: "relative", path: "/a/b", to: "b", want: true},
		{name: "with its query", query: "x=1&y=%20", to: "/cart?x=1&y=%20", want: true},
		{name: "another fragment is no other request", to: "/cart#top", want: true},
		{name: "absolute", to: "http://shop.example/cart", want: true},
		{name: "absolute over TLS", tls: 0x0304, to: "https://shop.example/cart", want: true},
		{name: "for good", status: 308, to: "/cart", want: true},
		{name: "HEAD", method: "HEAD", to: "/cart", want: true},
		{name: "percent-encoded", path: "/a%2Fb", to: "/a%2Fb", want: true},
		{name: "to TLS", to: "https://shop.example/cart"},
		{name: "another host", to: "//www.shop.example/cart"},
		{name: "another path", to: "/cart/"},
		{name: "a slash that is data", path: "/a%2Fb", to: "/a/b"},
		{name: "another query", to: "/cart?again=1"},
		{name: "without the query", query: "x=1", to: "/cart"},
		{name: "with a cookie", to: "/cart", cookie: true},
		{name: "after a form", method: "POST", to: "/cart", status: 303},
		{name: "not modified", status: 304, to: "/cart"},
		{name: "created", status: 201, to: "/cart"},
		{name: "malformed", to: "http://[::1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rec := &record.Record{Request: record.Request{Method: "GET", Host: "shop.example", Path: "/cart"}}
			if tc.method != "" {
				rec.Request.Method = tc.method
			}
			if tc.path != "" {
				rec.Request.Path = tc.path
			}
			rec.Client.TLS = tc.tls
			h := http.Header{"Location": {tc.to}}
			if tc.cookie {
				h.Set("Set-Cookie", "seen=1")
			}
			status := tc.status
			if status == 0 {
				status = http.StatusFound
			}
			if got := redirects(status) && circles(rec, tc.query, h); got != tc.want {
				t.Errorf("%d to %q: %v", status, tc.to, got)
			}
		})
	}
}
