package cache

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var shop = Scope{Tenant: "main", Service: "shop"}

func get(t testing.TB, rawURL string, fields ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, rawURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	return req
}

func TestKeysAreEqualForTheSameURLOnly(t *testing.T) {
	base := "http://shop.example/a/b?c=d"
	same := []string{"http://SHOP.example/a/b?c=d", "http://shop.example:80/a/b?c=d", "http://shop.example:/a/b?c=d", "http://shop.example/a/b?c=d#e"}
	other := []string{
		"https://shop.example/a/b?c=d", "http://shop.example:443/a/b?c=d", "http://shop.example:8080/a/b?c=d",
		"http://other.example/a/b?c=d", "http://shop.example/A/b?c=d", "http://shop.example/a%2Fb?c=d",
		"http://shop.example/a/b", "http://shop.example/a/b?c=D", "http://shop.example/a/b/?c=d", "http://shop.example//a/b?c=d",
		"http://shop.example/a/%62?c=d", "http://shop.example/a/b%3Fc=d",
	}
	want := keyOf(&shop, get(t, base))
	for _, u := range same {
		if got := keyOf(&shop, get(t, u)); got != want {
			t.Errorf("%s: key %v, want that of %s", u, got, base)
		}
	}
	seen := map[Key]string{want: base}
	for _, u := range other {
		k := keyOf(&shop, get(t, u))
		if twin, ok := seen[k]; ok {
			t.Errorf("%s has the key of %s", u, twin)
		}
		seen[k] = u
	}
	for _, scope := range []Scope{{Tenant: "main", Service: "blog"}, {Tenant: "other", Service: "shop"}} {
		if keyOf(&scope, get(t, base)) == want {
			t.Errorf("%s of %v has the key of %v", base, scope, shop)
		}
	}
	if keyOf(&shop, get(t, "http://shop.example/a?")) == keyOf(&shop, get(t, "http://shop.example/a")) {
		t.Error("an empty query has the key of none")
	}
	if keyOf(&shop, get(t, "http://shop.example")) != keyOf(&shop, get(t, "http://shop.example/")) {
		t.Error("an empty path is another than /")
	}
}

func TestKeyIsOfTheRequestAsTheClientMadeIt(t *testing.T) {
	want := Key{Tenant: "main", Service: "shop", Scheme: "https", Host: "shop.example", Path: "/app/x", Query: "q", HasQuery: true}
	// What a server has: the host apart, the scheme by TLS.
	req := &http.Request{Method: "GET", Host: "shop.example", URL: &url.URL{Path: "/app/x", RawQuery: "q"}, TLS: new(tls.ConnectionState)}
	if d := cmp.Diff(want, keyOf(&shop, req)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	// What a policy has rewritten.
	req = get(t, "https://shop.example/x?q")
	req = req.WithContext(WithURL(req.Context(), &url.URL{Path: "/app/x", RawQuery: "q"}))
	if d := cmp.Diff(want, keyOf(&shop, req)); d != "" {
		t.Errorf("rewritten: (-want +got)\n%s", d)
	}
	// Which Host the origin is to see does not matter.
	req = get(t, "https://10.0.0.1/app/x?q")
	req.Host = "shop.example"
	if d := cmp.Diff(want, keyOf(&shop, req)); d != "" {
		t.Errorf("with a Host: (-want +got)\n%s", d)
	}
}
