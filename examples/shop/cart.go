package shop

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

const (
	cartCookie = "cart"
	maxLines   = 20
	maxMetres  = 99
)

// line is one cloth in a cart.
type line struct {
	Product *Product
	Metres  int
}

// Cents is what the line costs.
func (l line) Cents() int { return l.Product.Cents * l.Metres }

// cart is what somebody has in the cart: nothing more than the cookie says.
type cart []line

// Cents is what it costs.
func (c cart) Cents() int {
	sum := 0
	for _, l := range c {
		sum += l.Cents()
	}
	return sum
}

// readCart reads the cookie, 42x3.17x1 for instance. What cannot be is left out.
func readCart(r *http.Request) cart {
	cookie, err := r.Cookie(cartCookie)
	if err != nil {
		return nil
	}
	var c cart
	for part := range strings.SplitSeq(cookie.Value, ".") {
		id, metres, _ := strings.Cut(part, "x")
		n, err1 := strconv.Atoi(id)
		m, err2 := strconv.Atoi(metres)
		if p, ok := product(n); ok && err1 == nil && err2 == nil && m > 0 {
			c = c.add(p, m)
		}
	}
	return c
}

// add is the cart with more of a product.
func (c cart) add(p *Product, metres int) cart {
	metres = min(metres, maxMetres)
	for i := range c {
		if c[i].Product == p {
			c[i].Metres = min(c[i].Metres+metres, maxMetres)
			return c
		}
	}
	if len(c) == maxLines {
		return c
	}
	return append(c, line{p, metres})
}

// write puts the cart into the cookie, or takes that away.
func (c cart) write(w http.ResponseWriter) {
	parts := make([]string, len(c))
	for i, l := range c {
		parts[i] = fmt.Sprintf("%dx%d", l.Product.ID, l.Metres)
	}
	cookie := http.Cookie{
		Name: cartCookie, Value: strings.Join(parts, "."), Path: "/", MaxAge: 7 * 24 * 3600, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if len(c) == 0 {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, &cookie)
}

func (s *Shop) showCart(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", keepNot)
	s.page(w, "cart", http.StatusOK, view{Title: "Your cart", Cart: readCart(r), Key: newKey()})
}

func (s *Shop) addToCart(w http.ResponseWriter, r *http.Request) {
	p, metres, ok := choice(w, r)
	if !ok {
		return
	}
	readCart(r).add(p, metres).write(w)
	seeOther(w, r, "/cart")
}

func (s *Shop) removeFromCart(w http.ResponseWriter, r *http.Request) {
	p, _, ok := choice(w, r)
	if !ok {
		return
	}
	var rest cart
	for _, l := range readCart(r) {
		if l.Product != p {
			rest = append(rest, l)
		}
	}
	rest.write(w)
	seeOther(w, r, "/cart")
}

// choice reads a form that names a product, and how many metres of it. It
// answers itself if there is none.
func choice(w http.ResponseWriter, r *http.Request) (p *Product, metres int, ok bool) {
	if !readForm(w, r) {
		return nil, 0, false
	}
	id, err := strconv.Atoi(r.PostForm.Get("id"))
	if p, ok = product(id); !ok || err != nil {
		refuse(w, http.StatusUnprocessableEntity, "There is no such cloth.")
		return nil, 0, false
	}
	metres = 1
	if text := r.PostForm.Get("metres"); text != "" {
		if metres, err = strconv.Atoi(text); err != nil || metres < 1 || metres > maxMetres {
			refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("From 1 to %d metres.", maxMetres))
			return nil, 0, false
		}
	}
	return p, metres, true
}

// readForm reads a form of at most 64 KiB. It answers itself if there is none.
func readForm(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	if err == nil {
		return true
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		refuse(w, http.StatusRequestEntityTooLarge, "This form is too large.")
	} else {
		refuse(w, http.StatusBadRequest, "This is no form.")
	}
	return false
}

// seeOther sends the browser to a page after a form (RFC 9110, section 15.4.4).
func seeOther(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Cache-Control", keepNot)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}
