package shop

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/config"
)

// revisions are the examples beside the shop, and the name by which each asks for it.
var revisions = map[string]string{
	"good": "good.example", "bad-500": "always-500.bad.example", "bad-5pct": "some-500.bad.example", "bad-rare": "rare-500.bad.example",
	"bad-slow": "slower.bad.example", "bad-empty": "empty.bad.example", "bad-redirect-loop": "loop.bad.example",
	"bad-trap": "offers.bad.example", "bad-memory": "memory.bad.example", "bad-plain": "plain-500.bad.example", "bad-pages": "always-500.bad.example",
}

// cartRoutes go to the origin next in most of the examples.
var cartRoutes = []string{"cart-api", "cart", "order-page"}

// exampleOf is what an example is made of the shop's own file.
func exampleOf(folder, host string) string {
	_, s, _ := strings.Cut(string(serviceFile), "service: shop")
	s = strings.ReplaceAll(s, "file: sorry.html", "file: ../shop/sorry.html")
	if folder == "bad-pages" || folder == "bad-plain" {
		const line = "    endpoints: [" + endpoint + "]\n"
		return strings.Replace(s, line, line+"    host: "+host+"\n", 1)
	}
	s = strings.Replace(s, "\n# What has no route", "  next: {endpoints: ["+endpoint+"], host: "+host+"}\n\n# What has no route", 1)
	to := "origin: next"
	if folder == "bad-trap" {
		s = strings.Replace(s, "host: "+host+"}\n", "host: "+host+"}\nfunctions:\n  cart: {module: cart.wasm}\n", 1)
		to = "function: cart"
	}
	for _, name := range cartRoutes {
		before, rest, _ := strings.Cut(s, "  - name: "+name+"\n")
		s = before + "  - name: " + name + "\n" + strings.Replace(rest, "origin: web", to, 1)
	}
	return s
}

func TestExamplesAreTheShopsFileButForAnOrigin(t *testing.T) {
	found, err := filepath.Glob("../*/shop.yaml")
	if err != nil || len(found) != len(revisions)+1 {
		t.Errorf("%d service files, want %d and the shop's own: %v", len(found), len(revisions), err)
	}
	for folder, host := range revisions {
		file := filepath.Join("..", folder, "shop.yaml")
		got, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, body, _ := strings.Cut(string(got), "service: shop"); body != exampleOf(folder, host) {
			t.Errorf("%s differs from shop.yaml in more than its origin", file)
		}
		if folder == "bad-trap" {
			continue // its function has to be built first
		}
		if _, err := config.Pack(file); err != nil {
			t.Error(err)
		}
	}
}

// asked is one request under a name, with a cookie or without.
func asked(s http.Handler, host, target, cookie string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = host
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestFaultsShowWhereACookieIs(t *testing.T) {
	s := open(t, Options{})
	for folder, host := range revisions {
		if w := asked(s, host, "/p/42", ""); (w.Code == http.StatusOK && w.Body.Len() > 0) == (folder == "bad-plain") {
			t.Errorf("%s without a cookie: %d, %d bytes", folder, w.Code, w.Body.Len())
		}
	}
	for folder, want := range map[string]int{"good": 200, "bad-500": 500, "bad-slow": 200, "bad-empty": 200, "bad-redirect-loop": 302, "bad-plain": 500, "bad-memory": 200} {
		began := time.Now()
		w := asked(s, revisions[folder]+":8080", "/p/42?x=1", "visit=1")
		if w.Code != want || (w.Body.Len() == 0) != (folder == "bad-empty") {
			t.Errorf("%s: %d, %d bytes, want %d", folder, w.Code, w.Body.Len(), want)
		}
		if took := time.Since(began); folder == "bad-slow" && took < slowerLeast {
			t.Errorf("bad-slow took %s", took)
		}
		if to := w.Header().Get("Location"); folder == "bad-redirect-loop" && to != "/p/42?x=1" {
			t.Errorf("the loop goes to %q", to)
		}
	}
	if len(s.hoard.kept) != 1 || len(s.hoard.kept[0]) != grownBy {
		t.Errorf("bad-memory kept %d pieces", len(s.hoard.kept))
	}
	bad := 0
	for range 2000 {
		if asked(s, revisions["bad-5pct"], "/api/cart", "visit=1").Code == http.StatusInternalServerError {
			bad++
		}
	}
	if w := asked(s, revisions["bad-trap"], "/cart", "visit=1"); w.Code != http.StatusOK {
		t.Errorf("bad-trap: %d", w.Code)
	}
	if bad < 20 || bad > 400 { // 100 are expected; so few or many come by chance never
		t.Errorf("bad-5pct: %d of 2,000", bad)
	}
}

func TestShoppersComeFromManyAddressesWithCookies(t *testing.T) {
	s := open(t, Options{})
	seen := map[string]bool{}
	p := &Shoppers{Addresses: 200_000}
	for range 50 {
		one := p.shopper(time.Microsecond, roundTrip(func(r *http.Request) (*http.Response, error) {
			from := r.Header.Get("X-Forwarded-For")
			if c, err := r.Cookie("visit"); err != nil || c.Value != from || !strings.HasPrefix(from, "198.1") {
				t.Errorf("from %q with cookies %v", from, r.Header["Cookie"])
			}
			seen[from] = true
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			return w.Result(), nil
		}))
		one.get(t.Context(), "/api/cart")
	}
	if len(seen) < 40 {
		t.Errorf("50 visits came from %d addresses", len(seen))
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
