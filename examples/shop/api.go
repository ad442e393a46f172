package shop

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"strconv"
	"strings"
)

// wantsJSON says whether the client asks for JSON and not for a page.
func wantsJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json")
}

// apiProducts are all products, or those of ?q=, as JSON; as CSV to who asks for that.
func (s *Shop) apiProducts(w http.ResponseWriter, r *http.Request) {
	found := search(r.URL.Query().Get("q"))
	w.Header().Set("Vary", "Accept")
	if strings.Contains(r.Header.Get("Accept"), "text/csv") {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		send(w, r, asCSV(found), keepPage, "api", "products")
		return
	}
	if found == nil {
		found = []Product{}
	}
	w.Header().Set("Content-Type", "application/json")
	send(w, r, marshal(found), keepPage, "api", "products")
}

func asCSV(products []Product) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"id", "name", "material", "weave", "cents", "grams"})
	for _, p := range products {
		_ = w.Write([]string{strconv.Itoa(p.ID), p.Name, p.Material, p.Weave, strconv.Itoa(p.Cents), strconv.Itoa(p.Grams)})
	}
	w.Flush() // into a buffer, which takes everything
	return b.Bytes()
}

func (s *Shop) apiProduct(w http.ResponseWriter, r *http.Request) {
	p, ok := productOf(r, "")
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		w.Header().Set("Cache-Control", "public, max-age=5")
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "there is no such cloth"})
		return
	}
	send(w, r, marshal(p), keepPage, "api", p.Tag(), "products")
}

// apiCart is what the pages, which everybody shares, show of one's own cart.
func (s *Shop) apiCart(w http.ResponseWriter, r *http.Request) {
	c := readCart(r)
	metres := 0
	for _, l := range c {
		metres += l.Metres
	}
	w.Header().Set("Cache-Control", keepNot)
	writeJSON(w, http.StatusOK, map[string]int{"lines": len(c), "metres": metres, "cents": c.Cents()})
}
