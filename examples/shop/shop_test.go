package shop

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/config"
)

func open(t testing.TB, o Options) *Shop {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.EndStreams()
		if err := s.orders.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends one request without a network. fields are names and values.
func ask(s http.Handler, method, target, body string, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// serve is the shop on a real network, with a browser.
func serve(t *testing.T, s http.Handler) (base string, browser *http.Client) {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return srv.URL, &http.Client{Jar: jar, Transport: srv.Client().Transport}
}

func TestEveryPageSaysHowLongItMayBeKept(t *testing.T) {
	s := open(t, Options{})
	for _, tt := range []struct{ path, contentType, cacheControl, tags string }{
		{"/", "text/html; charset=utf-8", keepPage, "home products"},
		{"/p/42", "text/html; charset=utf-8", keepPage, "product-42 products"},
		{"/img/42.png", "image/png", keepPicture, "product-42 pictures"},
		{"/img/42-small.png", "image/png", keepPicture, "product-42 pictures"},
		{"/static/shop.css", "text/css; charset=utf-8", keepPage, "static"},
		{"/static/shop.css?v=" + s.static["shop.css"].version, "text/css; charset=utf-8", keepForever, "static"},
		{"/search?q=wool", "text/html; charset=utf-8", keepSearch, "search products"},
		{"/chat", "text/html; charset=utf-8", keepPage, "chat"},
		{"/api/products", "application/json", keepPage, "api products"},
		{"/api/products/13", "application/json", keepPage, "api product-13 products"},
	} {
		w := ask(s, "GET", tt.path, "")
		h := w.Header()
		if w.Code != 200 || h.Get("Content-Type") != tt.contentType || h.Get("Cache-Control") != tt.cacheControl || h.Get("Surrogate-Key") != tt.tags {
			t.Errorf("%s: %d, %q, %q, %q", tt.path, w.Code, h.Get("Content-Type"), h.Get("Cache-Control"), h.Get("Surrogate-Key"))
		}
		if h.Get("Last-Modified") != "Mon, 02 Nov 2026 08:00:00 GMT" || h.Get("Set-Cookie") != "" {
			t.Errorf("%s: Last-Modified %q, Set-Cookie %q", tt.path, h.Get("Last-Modified"), h.Get("Set-Cookie"))
		}
		again := ask(s, "GET", tt.path, "", "If-None-Match", h.Get("ETag"))
		if again.Code != 304 || again.Body.Len() != 0 {
			t.Errorf("%s with its ETag: %d with %d bytes, want 304 with none", tt.path, again.Code, again.Body.Len())
		}
	}
	for _, path := range []string{"/cart", "/api/cart"} {
		if w := ask(s, "GET", path, ""); w.Code != 200 || w.Header().Get("Cache-Control") != keepNot {
			t.Errorf("%s: %d, Cache-Control %q", path, w.Code, w.Header().Get("Cache-Control"))
		}
	}
	for _, path := range []string{"/p/12", "/p/43", "/p/042", "/p/x", "/img/42", "/img/42-large.png", "/static/x.css", "/orders/1001-x", "/nothing"} {
		if w := ask(s, "GET", path, ""); w.Code != 404 {
			t.Errorf("%s: %d, want 404", path, w.Code)
		}
	}
}

func TestAllOfTheCatalogueIsThere(t *testing.T) {
	s := open(t, Options{})
	if len(catalogue) != 30 {
		t.Fatalf("%d products, want 30", len(catalogue))
	}
	seen := map[string]bool{}
	for i, p := range catalogue {
		if p.ID != 13+i {
			t.Errorf("product %d stands in place %d", p.ID, i)
		}
		page := ask(s, "GET", fmt.Sprintf("/p/%d", p.ID), "")
		if !strings.Contains(page.Body.String(), p.Price()) {
			t.Errorf("the page of %s has no price", p.Name)
		}
		img := ask(s, "GET", fmt.Sprintf("/img/%d-small.png", p.ID), "").Body.Bytes()
		conf, err := png.DecodeConfig(bytes.NewReader(img))
		if err != nil || conf.Width != 240 || conf.Height != 180 {
			t.Errorf("the picture of %s: %v, %v", p.Name, conf, err)
		}
		if seen[string(img)] {
			t.Errorf("%s looks like another cloth", p.Name)
		}
		seen[string(img)] = true
	}
}

func TestSearchFindsWhatHasAllWords(t *testing.T) {
	s := open(t, Options{})
	for query, want := range map[string]int{"silk satin": 2, "SELVAGE": 1, "velvet": 0, "": 30, "wool herringbone": 3} {
		if got := len(search(query)); got != want {
			t.Errorf("%q finds %d, want %d", query, got, want)
		}
	}
	w := ask(s, "GET", "/search?q="+url.QueryEscape(`<script>"x`), "")
	if body := w.Body.String(); strings.Contains(body, "<script>\"x") || w.Code != 200 {
		t.Error("the query stands in the page as it came")
	}
}

func TestAPIAnswersAsAsked(t *testing.T) {
	s := open(t, Options{})
	csv := ask(s, "GET", "/api/products?q=silk+satin", "", "Accept", "text/csv")
	if csv.Header().Get("Vary") != "Accept" || strings.Count(csv.Body.String(), "\n") != 3 {
		t.Errorf("CSV: Vary %q, %q", csv.Header().Get("Vary"), csv.Body)
	}
	if w := ask(s, "GET", "/api/products?q=velvet", ""); strings.TrimSpace(w.Body.String()) != "[]" || w.Header().Get("Vary") != "Accept" {
		t.Errorf("JSON of none: %q", w.Body)
	}
	if w := ask(s, "GET", "/api/products/1", ""); w.Code != 404 || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("no such product: %d, %s", w.Code, w.Header().Get("Content-Type"))
	}
}

func TestCartLivesInACookie(t *testing.T) {
	s := open(t, Options{})
	base, browser := serve(t, s)
	post := func(path string, form url.Values) string {
		t.Helper()
		resp, err := browser.PostForm(base+path, form)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Request.URL.Path + " " + string(body)
	}
	post("/cart/add", url.Values{"id": {"42"}, "metres": {"3"}})
	post("/cart/add", url.Values{"id": {"17"}})
	page := post("/cart/add", url.Values{"id": {"42"}, "metres": {"99"}})
	if !strings.HasPrefix(page, "/cart ") || !strings.Contains(page, "Selvage denim") || !strings.Contains(page, price(99*2950+940)) {
		t.Errorf("after adding: %s", page)
	}
	page = post("/cart/remove", url.Values{"id": {"42"}})
	if strings.Contains(page, "Selvage denim") || !strings.Contains(page, "Orchard gingham") {
		t.Errorf("after removing: %s", page)
	}
	if page = post("/cart/remove", url.Values{"id": {"17"}}); !strings.Contains(page, "nothing in it") {
		t.Errorf("after removing all: %s", page)
	}
	for cookie, want := range map[string]int{"42x1.17x2": 2, "42x0": 0, "42x-1.x.99x1.13x": 0, "42x1.42x1": 1, "": 0} {
		r := httptest.NewRequest("GET", "/cart", nil)
		r.AddCookie(&http.Cookie{Name: cartCookie, Value: cookie})
		if got := len(readCart(r)); got != want {
			t.Errorf("cookie %q: %d lines, want %d", cookie, got, want)
		}
	}
	for form, want := range map[string]int{"id=1": 422, "id=42&metres=0": 422, "id=42&metres=100": 422, "%zz": 400, "id=42&x=" + strings.Repeat("a", maxForm): 413} {
		if w := ask(s, "POST", "/cart/add", form); w.Code != want {
			t.Errorf("a bad form: %d, want %d", w.Code, want)
		}
	}
}

func TestOtherSitesCannotOrder(t *testing.T) {
	s := open(t, Options{})
	if w := ask(s, "POST", "/orders", "id=42&name=eve", "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
		t.Errorf("status %d, want 403", w.Code)
	}
}

func TestConfirmedOrdersAreOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Data: dir})
	w := ask(s, "POST", "/orders", "name=Ann", "Cookie", "cart=42x2.17x1", "Idempotency-Key", `"k1"`)
	to := w.Header().Get("Location")
	if w.Code != 303 || !strings.HasPrefix(to, "/orders/1001-") || !strings.Contains(w.Header().Get("Set-Cookie"), "Max-Age=0") {
		t.Fatalf("order: %d to %q, Set-Cookie %q", w.Code, to, w.Header().Get("Set-Cookie"))
	}
	if w := ask(s, "POST", "/orders", "name=Bob&id=13", "Accept", "application/json"); w.Code != 201 || !strings.Contains(w.Body.String(), `"number": 1002`) {
		t.Fatalf("order as JSON: %d %s", w.Code, w.Body)
	}
	// The machine stops in the middle of the next line.
	file := filepath.Join(dir, "orders.jsonl")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(whole, `{"number":1003,"na`...), 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, Options{Data: dir})
	page := ask(again, "GET", to, "")
	if page.Code != 200 || !strings.Contains(page.Body.String(), "Thank you, Ann") || !strings.Contains(page.Body.String(), price(2*2950+940)) {
		t.Errorf("after the restart: %d %s", page.Code, page.Body)
	}
	if w := ask(again, "POST", "/orders", "name=Ann", "Cookie", "cart=42x2.17x1", "Idempotency-Key", "k1"); w.Header().Get("Location") != to {
		t.Errorf("the same key after the restart leads to %q, want %q", w.Header().Get("Location"), to)
	}
	if w := ask(again, "POST", "/orders", "name=Cleo&id=13"); !strings.HasPrefix(w.Header().Get("Location"), "/orders/1003-") {
		t.Errorf("the next order is %q", w.Header().Get("Location"))
	}
	third := open(t, Options{Data: dir})
	if got := third.Tally(); got.Orders != 3 {
		t.Errorf("%d orders in the file, want 3", got.Orders)
	}
}

func TestDamagedOrdersAreNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "orders.jsonl")
	if err := os.WriteFile(file, []byte("not JSON\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Data: dir}); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("New says %v, want the line", err)
	}
}

func TestOneKeyMakesOneOrder(t *testing.T) {
	s := open(t, Options{Data: t.TempDir()})
	var wg sync.WaitGroup
	var mu sync.Mutex
	places := map[string]int{}
	for range 20 {
		wg.Go(func() {
			w := ask(s, "POST", "/orders", "name=Ann&id=42&reference=r1", "Idempotency-Key", "k")
			mu.Lock()
			defer mu.Unlock()
			places[w.Header().Get("Location")+w.Header().Get("Idempotency-Replayed")]++
		})
	}
	wg.Wait()
	if len(places) != 2 || s.Tally().Orders != 1 {
		t.Errorf("answers %v, %d orders, want one made and 19 replayed", places, s.Tally().Orders)
	}
	if w := ask(s, "POST", "/orders", "name=Ann&id=13", "Idempotency-Key", "k"); w.Code != 422 {
		t.Errorf("another order with the key: %d, want 422", w.Code)
	}
	ask(s, "POST", "/orders", "name=Ann&id=42&reference=r1")
	if got := s.Tally(); got.Orders != 2 || len(got.Doubled) != 1 || got.Doubled[0] != "r1" {
		t.Errorf("without a key: %+v, want the reference doubled", got)
	}
	for _, form := range []string{"name=Ann", "id=42", "id=42&name=" + strings.Repeat("a", 1001)} {
		if w := ask(s, "POST", "/orders", form); w.Code != 422 {
			t.Errorf("an order of too little: %d, want 422", w.Code)
		}
	}
}

func TestOrderIsRefusedWhenTheDiskIsGone(t *testing.T) {
	s := open(t, Options{Data: t.TempDir()})
	s.orders.file.Close()
	if w := ask(s, "POST", "/orders", "name=Ann&id=42"); w.Code != 503 || s.Tally().Orders != 0 {
		t.Errorf("status %d, %d orders, want 503 and none", w.Code, s.Tally().Orders)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	s := open(t, Options{Data: t.TempDir(), Tick: time.Millisecond})
	_, next, ok := s.prices.listen()
	if !ok {
		t.Fatal("nobody may listen")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-next
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	select {
	case <-s.ended:
	default:
		t.Error("the streams were not ended")
	}
}

func TestServiceFileIsValid(t *testing.T) {
	dir := t.TempDir()
	file, err := WriteService(dir, "http://127.0.0.1:41234")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"shop.yaml", file} {
		l, err := config.Load("", []string{f})
		if err != nil {
			t.Fatal(err)
		}
		s := l.Services[0]
		if got := s.Origins["web"].Endpoints[0]; f == file && got != "http://127.0.0.1:41234" {
			t.Errorf("endpoint %q", got)
		}
		for _, r := range s.Routes {
			if strings.HasPrefix(r.Match.Path, "/_shop") || r.Match.Path == "/*" {
				t.Errorf("%s is routed", r.Match.Path)
			}
		}
	}
}
