package cache

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/selvage-edge/selvage"
)

// static is an origin of static files as net/http serves them.
type static struct{ made time.Time }

func (s static) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Date", httpDate(s.made))
	h.Set("Cache-Control", "max-age=100000")
	modified := s.made.Add(-time.Hour)
	body := r.URL.Path + " 0123456789"
	switch r.URL.Path {
	case "/tagged":
		h.Set("Etag", `"v1"`)
	case "/weak":
		h.Set("Etag", `W/"v1"`)
		modified = time.Time{}
	case "/vary":
		h.Set("Vary", "Accept-Language")
		h.Set("X-Language", r.Header.Get("Accept-Language"))
		body += r.Header.Get("Accept-Language")
	case "/old":
	default:
		h.Set("Content-Length", "13")
		w.WriteHeader(http.StatusNotFound)
		if r.Method != http.MethodHead {
			io.WriteString(w, "no such thing")
		}
		return
	}
	http.ServeContent(w, r, "a.txt", modified, bytes.NewReader([]byte(body)))
}

func (s static) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	res := w.Result()
	res.Request = req
	return res, nil
}

// oneOf chooses, and nothing more often than anything else.
func oneOf(r *rand.Rand, values ...string) string {
	if r.IntN(2) == 0 {
		return ""
	}
	return values[r.IntN(len(values))]
}

// With a body limit of 5 bytes everything is larger than a slice.
func TestCacheChangesNothingButAgeAndCacheStatus(t *testing.T) {
	for _, tt := range []struct {
		maxBody selvage.ByteSize
		overlay bool
		hits    int // at least
	}{{0, false, 1000}, {5, false, 200}, {0, true, 1000}, {5, true, 200}} {
		t.Run(fmt.Sprintf("max_body %d, overlay %v", tt.maxBody, tt.overlay), func(t *testing.T) {
			scope := Scope{Tenant: "main", Service: "shop", Policy: selvage.Cache{MaxBody: tt.maxBody}}
			if tt.overlay {
				scope.Layer = new(Layer)
			}
			changesNothing(t, scope, tt.hits)
		})
	}
}

func changesNothing(t *testing.T, scope Scope, least int) {
	onVirtualTime(t, func(t *testing.T) {
		seed := uint64(time.Now().UnixNano()) + uint64(rand.Int64())
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		origin := static{time.Now()}
		store := NewStore(1 << 20)
		defer store.Close()
		if scope.Layer != nil {
			store.Overlay(scope.Layer)
		}
		cached := NewTransport(store, scope, origin)
		hour := func(n time.Duration) string { return httpDate(origin.made.Add(n * time.Hour)) }
		hits := 0
		for i := range 3000 {
			req := get(t, "http://shop.example"+[]string{"/tagged", "/weak", "/vary", "/old", "/none"}[r.IntN(5)])
			fields := map[string]string{
				"Accept-Language":   oneOf(r, "de", "fr"),
				"If-None-Match":     oneOf(r, `"v1"`, `W/"v1"`, `"v2", "v1"`, `"v2"`, "*", "v1"),
				"If-Modified-Since": oneOf(r, hour(-1), hour(-2), "yesterday"),
			}
			if r.IntN(5) == 0 {
				req.Method = "HEAD"
			} else {
				fields["Range"] = oneOf(r, "bytes=0-3", "bytes=5-", "bytes=-2", "bytes=0-1000")
				fields["If-Range"] = oneOf(r, `"v1"`, `W/"v1"`, `"v2"`, hour(-1), hour(0))
			}
			for name, v := range fields {
				if v != "" {
					req.Header.Set(name, v)
				}
			}
			want, err := origin.RoundTrip(req.Clone(req.Context()))
			if err != nil {
				t.Fatal(err)
			}
			got, err := cached.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if got.Header.Get("Cache-Status") == "" {
				t.Errorf("no Cache-Status on %v", got.Header)
			}
			if got.Header.Get("Age") != "" {
				hits++
			}
			wantBody, gotBody := readAll(t, want), readAll(t, got)
			names := slices.Sorted(maps.Keys(req.Header))
			if d := cmp.Diff(want.StatusCode, got.StatusCode) + cmp.Diff(wantBody, gotBody) +
				cmp.Diff(shown(want), shown(got)); d != "" {
				t.Fatalf("request %d, %s %s with %v %v: (-without +with cache)\n%s", i, req.Method, req.URL, names, req.Header, d)
			}
			settled()
			time.Sleep(time.Second)
		}
		if hits < least {
			t.Errorf("%d of 3000 were answered from the store: the test tests nothing", hits)
		}
	})
}

func readAll(t *testing.T, res *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return string(body)
}

// shown is a header without what a cache may change.
func shown(res *http.Response) http.Header {
	h := res.Header.Clone()
	h.Del("Age")
	h.Del("Cache-Status")
	return h
}
