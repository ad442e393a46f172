package cache

import (
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
		{record.Cache{Fwd: "stale", FwdStatus: 304}, "selvage; fwd=stale; fwd-status=304"},
		{record.Cache{Fwd: "stale", HasTTL: true, TTL: -5 * time.Second, Detail: "stale-if-error"},
			"selvage; fwd=stale; ttl=-5; detail=stale-if-error"},
		{record.Cache{Fwd: "bypass", FwdStatus: 200, Detail: "upgrade"}, "selvage; fwd=bypass; detail=upgrade"},
		{record.Cache{Detail: "only-if-cached"}, "selvage; detail=only-if-cached"},
	}
	for _, tt := range tests {
		if got := cacheStatus(&tt.c); got != tt.want {
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
