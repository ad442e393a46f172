package cache

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// overridden asks for the page with an override.
func overridden(t *testing.T, e *edge, o *Override) result {
	req := get(t, "http://shop.example/")
	return e.do(req.WithContext(WithOverride(req.Context(), o)))
}

func TestAnOverrideGovernsWhatItsRequestStores(t *testing.T) {
	seconds := func(n int) *time.Duration { d := time.Duration(n) * time.Second; return &d }
	for _, tt := range []struct {
		name, fields string
		o            Override
		then         string // what a plain request gets after half a minute
	}{
		{"a lifetime where there is none", "", Override{TTL: seconds(60)}, "1 hit; ttl=30"},
		{"instead of the answer's", "Cache-Control: max-age=5, s-maxage=5", Override{TTL: seconds(60)}, "1 hit; ttl=30"},
		{"shorter than the answer's", "Cache-Control: max-age=90", Override{TTL: seconds(10)}, "2 fwd=stale; fwd-status=200; stored"},
		{"for stale use", "Cache-Control: max-age=5", Override{StaleWhileRevalidate: seconds(60)}, "1 hit; ttl=-25; detail=stale-while-revalidate"},
		{"none at all", "Cache-Control: max-age=90", Override{TTL: seconds(0)}, "2 fwd=uri-miss; stored"},
		{"of what is private", "Cache-Control: private", Override{TTL: seconds(60)}, "2 fwd=uri-miss; detail=private"},
		{"of what is not to be stored", "Cache-Control: no-store", Override{TTL: seconds(60)}, "2 fwd=uri-miss; detail=no-store"},
		{"of what sets a cookie", "Set-Cookie: a=b", Override{TTL: seconds(60)}, "2 fwd=uri-miss; detail=set-cookie"},
		{"past the cache", "Cache-Control: max-age=90", Override{Pass: true}, "2 fwd=uri-miss; stored"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				origin := &script{}
				origin.answer = func(req *http.Request) (*http.Response, error) {
					return reply(req, 200, tt.fields, fmt.Sprint(origin.count())), nil
				}
				e := newEdge(t, selvage.Cache{}, origin)
				overridden(t, e, &tt.o)
				settled()
				time.Sleep(30 * time.Second)
				r := e.get("/")
				if got := r.body + " " + strings.TrimPrefix(r.cacheStatus(), "selvage; "); got != tt.then {
					t.Errorf("got %q, want %q", got, tt.then)
				}
			})
		})
	}
}

func TestAPassLeavesAloneWhatIsStored(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{}
		origin.answer = func(req *http.Request) (*http.Response, error) {
			return reply(req, 200, "Cache-Control: max-age=60", fmt.Sprint(origin.count())), nil
		}
		e := newEdge(t, selvage.Cache{}, origin)
		e.get("/")
		settled()
		expect(t, overridden(t, e, &Override{Pass: true}), 200, "2", "selvage; fwd=bypass; detail=pass")
		expect(t, e.get("/"), 200, "1", "selvage; hit; ttl=60")
	})
}

func TestTagsOfAnOverrideArePurged(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{}
		origin.answer = func(req *http.Request) (*http.Response, error) {
			return reply(req, 200, "Cache-Control: max-age=60\nSurrogate-Key: own", fmt.Sprint(origin.count())), nil
		}
		e := newEdge(t, selvage.Cache{}, origin)
		for i, tag := range []selvage.Tag{"own", "more"} {
			overridden(t, e, &Override{Tags: []string{"more", "own"}})
			settled()
			if r := e.get("/"); !strings.HasPrefix(r.cacheStatus(), "selvage; hit") {
				t.Fatalf("before the purge of %s: %s", tag, r.cacheStatus())
			}
			e.store.Purge(Purge{Tenant: shop.Tenant, Service: shop.Service, Tags: []selvage.Tag{tag}})
			if r := e.get("/"); r.body != fmt.Sprint(2*i+2) {
				t.Errorf("after the purge of %s: got answer %s", tag, r.body)
			}
			settled()
			e.store.Purge(Purge{Tenant: shop.Tenant, Service: shop.Service, All: true})
		}
	})
}
