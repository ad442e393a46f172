package shop

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// How long what may be kept. What is somebody's own is never kept.
const (
	keepPage    = "public, max-age=60, stale-while-revalidate=30, stale-if-error=86400"
	keepSearch  = "public, max-age=10, stale-while-revalidate=30, stale-if-error=3600"
	keepPicture = "public, max-age=86400, stale-if-error=604800"
	keepForever = "public, max-age=31536000, immutable"
	keepNot     = "private, no-store"
)

// asset is a file of the folder static.
type asset struct {
	body        []byte
	contentType string
	version     string
}

// view is what a page is made of.
type view struct {
	Title    string
	Static   map[string]asset
	Products []Product
	Product  *Product
	Prices   []Price
	Query    string
	Cart     cart
	Key      string
	Order    *Order
}

// Version is the address of a static file, with what changes when it does.
func (v view) Version(name string) string { return "/static/" + name + "?v=" + v.Static[name].version }

var contentTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func (s *Shop) loadStatic() error {
	entries, err := files.ReadDir("static")
	if err != nil {
		return err
	}
	s.static = map[string]asset{}
	for _, e := range entries {
		body, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			return err
		}
		s.static[e.Name()] = asset{body, contentTypes[path.Ext(e.Name())], digest(body)}
	}
	return nil
}

func (s *Shop) loadPages() error {
	s.pages = map[string]*template.Template{}
	for _, name := range []string{"home", "product", "search", "cart", "order", "chat", "missing"} {
		t, err := template.New("frame.html").Funcs(template.FuncMap{"price": price}).ParseFS(files, "pages/frame.html", "pages/"+name+".html")
		if err != nil {
			return fmt.Errorf("read page %s: %w", name, err)
		}
		s.pages[name] = t
	}
	return nil
}

// digest is a short name for content.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// page sends a page that has a status of its own and is nobody else's.
func (s *Shop) page(w http.ResponseWriter, name string, status int, v view) {
	body := s.render(w, name, v)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// shared sends a page that everybody may keep: with its tags, an ETag, and a
// 304 for those who have it.
func (s *Shop) shared(w http.ResponseWriter, r *http.Request, name, keep string, v view, tags ...string) {
	body := s.render(w, name, v)
	send(w, r, body, keep, tags...)
}

func (s *Shop) render(w http.ResponseWriter, name string, v view) []byte {
	v.Static = s.static
	var b bytes.Buffer
	if err := s.pages[name].Execute(&b, v); err != nil {
		panic(err) // a defect in a page; a test renders them all
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "same-origin")
	return b.Bytes()
}

// send sends what may be kept, or says that it has not changed.
func send(w http.ResponseWriter, r *http.Request, body []byte, keep string, tags ...string) {
	h := w.Header()
	h.Set("Cache-Control", keep)
	h.Set("ETag", `"`+digest(body)+`"`)
	if len(tags) > 0 {
		h.Set("Surrogate-Key", strings.Join(tags, " "))
	}
	http.ServeContent(w, r, "", printed, bytes.NewReader(body))
}

func (s *Shop) home(w http.ResponseWriter, r *http.Request) {
	s.shared(w, r, "home", keepPage, view{Title: "Thirty cloths, by the metre", Products: catalogue, Prices: startPrices()}, "home", "products")
}

func (s *Shop) product(w http.ResponseWriter, r *http.Request) {
	p, ok := productOf(r, "")
	if !ok {
		s.notFound(w, r)
		return
	}
	s.shared(w, r, "product", keepPage, view{Title: p.Name, Product: p}, p.Tag(), "products")
}

// productOf is the product that the path names.
func productOf(r *http.Request, suffix string) (*Product, bool) {
	text, ok := strings.CutSuffix(r.PathValue("id")+r.PathValue("name"), suffix)
	id, err := strconv.Atoi(text)
	if !ok || err != nil || strconv.Itoa(id) != text { // one address for one product
		return nil, false
	}
	return product(id)
}

// picture serves /img/42.png and /img/42-small.png.
func (s *Shop) picture(w http.ResponseWriter, r *http.Request) {
	p, small := productOf(r, "-small.png")
	if !small {
		var ok bool
		if p, ok = productOf(r, ".png"); !ok {
			s.notFound(w, r)
			return
		}
	}
	w.Header().Set("Content-Type", "image/png")
	send(w, r, s.swatches.get(p, small), keepPicture, p.Tag(), "pictures")
}

func (s *Shop) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := s.static[r.PathValue("name")]
	if !ok {
		s.notFound(w, r)
		return
	}
	keep := keepPage
	if r.URL.Query().Get("v") == a.version {
		keep = keepForever
	}
	w.Header().Set("Content-Type", a.contentType)
	send(w, r, a.body, keep, "static")
}

func (s *Shop) search(w http.ResponseWriter, r *http.Request) {
	q := strings.TrimSpace(r.URL.Query().Get("q"))
	if len(q) > 100 {
		q = q[:100]
	}
	q = strings.ToValidUTF8(q, "")
	s.shared(w, r, "search", keepSearch, view{Title: "Search", Query: q, Products: search(q)}, "search", "products")
}

func (s *Shop) chatPage(w http.ResponseWriter, r *http.Request) {
	s.shared(w, r, "chat", keepPage, view{Title: "Over the counter"}, "chat")
}

// notFound may be kept too, but not for long.
func (s *Shop) notFound(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=5")
	s.page(w, "missing", http.StatusNotFound, view{Title: "Not here"})
}
