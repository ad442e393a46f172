package cache

import (
	"cmp"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

func TestCacheStatusIsBuiltExactly(t *testing.T) {
	tests := []struct {
		c    record.Cache
		want string
	}{
		{record.Cache{Hit: true, HasTTL: true, TTL: time.Second}, "selvage; hit; ttl=1"},
		{record.Cache{Hit: true, HasTTL: true, TTL: 1999 * time.Millisecond}, "selvage; hit; ttl=1"},
		{record.Cache{Hit: true, HasTTL: true, TTL: -time.Millisecond, Stale: true, Detail: "stale-while-revalidate"},
			"selvage; hit; ttl=-1; detail=stale-while-revalidate"},
		{record.Cache{Fwd: "uri-miss", FwdStatus: 200, Stored: true}, "selvage; fwd=uri-miss; stored"},
		{record.Cache{Fwd: "uri-miss", FwdStatus: 200, Collapsed: true}, "selvage; fwd=uri-miss; collapsed"},
		{record.Cache{Fwd: "uri-miss", FwdStatus: 206}, "selvage; fwd=uri-miss; fwd-status=206"},
		{record.Cache{Fwd: "stale", FwdStatus: 304}, "selvage; fwd=stale; fwd-status=304"},
		{record.Cache{Fwd: "stale", HasTTL: true, TTL: -5 * time.Second, Detail: "stale-if-error"},
			"selvage; fwd=stale; ttl=-5; detail=stale-if-error"},
		{record.Cache{Fwd: "bypass", FwdStatus: 200, Detail: "upgrade"}, "selvage; fwd=bypass; detail=upgrade"},
		{record.Cache{Detail: "only-if-cached"}, "selvage; detail=only-if-cached"},
	}
	for _, tt := range tests {
		if got := string(appendCacheStatus(nil, &tt.c, 200)); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestKeyIsToldWhereThePolicySaysSo(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{ShowKey: true}, always(200, "Cache-Control: max-age=60\nNo-Vary-Search: params=(\"x\")", "one"))
		expect(t, e.get("/a?x=1&b=%22"), 200, "one", `selvage; fwd=uri-miss; stored; key="http://shop.example/a?x=1&b=%22"`)
		settled()
		expect(t, e.get("/a?x=2&b=%22"), 200, "one", `selvage; hit; ttl=60; key="http://shop.example/a?b=%22 no-vary-search=&x"`)
		req := get(t, "http://shop.example/a")
		req.Method = "POST"
		expect(t, e.do(req), 200, "one", `selvage; fwd=method; key="http://shop.example/a"`)
		expect(t, e.get("/b", "Cache-Control", "only-if-cached"), 504, "", `selvage; detail=only-if-cached; key="http://shop.example/b"`)
		r := e.do(asks(t, "q"))
		if _, err := httpsfv.UnmarshalList([]string{r.cacheStatus()}); err != nil || !strings.Contains(r.cacheStatus(), " sha256=") {
			t.Errorf("of a QUERY: %q, %v", r.cacheStatus(), err)
		}
	})
}

// FuzzQuoted: whatever the key, it is a string of a structured field.
func FuzzQuoted(f *testing.F) {
	f.Add("http://shop.example/a?b=\"c\\")
	f.Add("\x00\x80ä")
	f.Fuzz(func(t *testing.T, s string) {
		item, err := httpsfv.UnmarshalItem([]string{quoted(s)})
		if _, ok := item.Value.(string); err != nil || !ok {
			t.Errorf("%q became %s: %v", s, quoted(s), err)
		}
	})
}

func TestEveryForwardSaysWhyAndIsRecorded(t *testing.T) {
	fresh := func(e *edge) { e.get("/"); settled() }
	purged := func(e *edge) { fresh(e); e.purge(false, "a") }
	private := func(e *edge) { e.get("/private", "Range", "bytes=0-0"); settled() }
	tests := map[string]struct {
		before func(e *edge)
		method string
		path   string
		fields []string
		want   string
	}{
		"method":                      {method: "POST", want: "fwd=method"},
		"unknown method":              {method: "BREW", want: "fwd=method"},
		"OPTIONS":                     {method: "OPTIONS", before: fresh, want: "fwd=method"},
		"HEAD of nothing":             {method: "HEAD", want: "fwd=uri-miss; detail=head"},
		"HEAD of what is purged":      {method: "HEAD", before: purged, want: "fwd=uri-miss; detail=purged"},
		"HEAD anew":                   {method: "HEAD", before: fresh, fields: []string{"Cache-Control", "no-cache"}, want: "fwd=request; fwd-status=200; detail=head"},
		"no-store":                    {fields: []string{"Cache-Control", "no-store"}, want: "fwd=uri-miss; detail=request-no-store"},
		"no-store, anew":              {before: fresh, fields: []string{"Cache-Control", "no-store, no-cache"}, want: "fwd=request; fwd-status=200; detail=request-no-store"},
		"ranges":                      {fields: []string{"Range", "bytes=0-0,2-3"}, want: "fwd=uri-miss; detail=range"},
		"other units":                 {fields: []string{"Range", "lines=1-2"}, want: "fwd=uri-miss; detail=range"},
		"range of a private answer":   {before: private, path: "/private", fields: []string{"Range", "bytes=0-0"}, want: "fwd=uri-miss; detail=private"},
		"range, the origin has all":   {fields: []string{"Range", "bytes=0-0"}, want: "fwd=uri-miss; fwd-status=200; stored"},
		"condition on what is stored": {fields: []string{"If-None-Match", `"a"`}, want: "fwd=uri-miss; fwd-status=200; stored"},
		"upgrade":                     {fields: []string{"Upgrade", "websocket"}, want: "fwd=bypass; detail=upgrade"},
		"precondition":                {fields: []string{"If-Match", `"a"`}, want: "fwd=bypass; detail=precondition"},
		"override":                    {fields: []string{"X-Http-Method", "PUT"}, want: "fwd=bypass; detail=override"},
		"purged":                      {before: purged, want: "fwd=uri-miss; stored; detail=purged"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				e := newEdge(t, selvage.Cache{}, &script{answer: func(req *http.Request) (*http.Response, error) {
					fields := "Cache-Control: max-age=60\nETag: \"a\"\nSurrogate-Key: a"
					if req.URL.Path == "/private" {
						fields = "Cache-Control: private"
					}
					return reply(req, 200, fields, "page"), nil
				}})
				if tt.before != nil {
					tt.before(e)
				}
				req := get(t, "http://shop.example"+cmp.Or(tt.path, "/"), tt.fields...)
				req.Method = cmp.Or(tt.method, "GET")
				r := e.do(req)
				if want := "selvage; " + tt.want; r.cacheStatus() != want || r.rec.Cache.FwdStatus != 200 {
					t.Errorf("got %q, %+v\nwant %q and a forward that was answered with 200", r.cacheStatus(), r.rec.Cache, want)
				}
				word, detail, _ := strings.Cut(strings.TrimPrefix(tt.want, "fwd="), ";")
				_, detail, _ = strings.Cut(detail, "detail=")
				if c := r.rec.Cache; c.Fwd != word || c.Detail != detail || c.Hit {
					t.Errorf("the record has %+v, want fwd %s, detail %q", c, word, detail)
				}
			})
		})
	}
}
