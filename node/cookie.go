package node

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
)

// ticket is what a request says of who the client is: the cookie of the edge's
// own, which says in which network the client was first seen. So a client that
// moves keeps its arm, whoever has many cookies from one network has one unit, and
// none of them changes the arm that its network has.
type ticket struct {
	offered []string // values under the cookie's name that nobody has read
	taken   bool     // out of the request
	read    bool
	ok      bool // one of them is ours
	unit    [16]byte
}

// What bounds reading cookies.
const (
	maxOffered  = 4 // of one request; more of that name are not looked at
	cookieSize  = 16 + sealTime
	cookieAhead = 5 * time.Minute // a node's clock may be wrong by so much
)

// takeCookie takes the client's cookie out of the request: no origin sees it, no
// function, and no key of a stored answer.
func (x *exchange) takeCookie() {
	c := x.served.cookie
	if c == nil || x.ticket.taken {
		return
	}
	x.ticket.taken = true
	lines, prefix := x.r.Header["Cookie"], c.Name+"="
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, prefix) }) {
		return
	}
	var left []string
	for _, line := range lines {
		var others []string
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			value, ours := strings.CutPrefix(pair, prefix)
			switch {
			case !ours && pair != "":
				others = append(others, pair)
			case ours && len(x.ticket.offered) < maxOffered:
				x.ticket.offered = append(x.ticket.offered, value)
			}
		}
		if len(others) > 0 {
			left = append(left, strings.Join(others, "; "))
		}
	}
	if len(left) == 0 {
		delete(x.r.Header, "Cookie")
		return
	}
	x.r.Header["Cookie"] = left
}

// clientUnit is what a client is told apart by: the network of its cookie, or of its address.
func (x *exchange) clientUnit() [16]byte {
	x.readCookie()
	if x.ticket.ok {
		return x.ticket.unit
	}
	return unitOf(x.who.client)
}

// readCookie finds ours among what was offered.
func (x *exchange) readCookie() {
	t, s := &x.ticket, x.node.registry.shared.now.Load()
	if t.read || len(t.offered) == 0 || s == nil {
		return
	}
	t.read = true
	for _, value := range t.offered {
		text, ok := s.open(x.cookiePurpose(), value, cookieSize)
		if !ok {
			continue
		}
		made, now := getTime(text[16:]), time.Now()
		if made.After(now.Add(cookieAhead)) || now.Sub(made) > x.served.cookie.MaxAge.Std() {
			continue
		}
		t.ok, t.unit = true, [16]byte(text)
		return
	}
}

func (x *exchange) cookiePurpose() string {
	return "client\x00" + string(x.node.tenant) + "\x00" + string(x.served.name)
}

// giveCookie gives the client one, if the service wants it and nobody else can
// get this answer: it came past the cache, and none behind us may store it.
func (x *exchange) giveCookie(h http.Header, status int) {
	c := x.served.cookie
	if c == nil || x.rec.Target.Forced || x.rec.Cache.Hit || x.rec.Cache.Stored || status < 200 || status >= 500 || !forOne(x.r.Method, h) {
		return
	}
	s := x.node.registry.shared.now.Load()
	if x.readCookie(); x.ticket.ok || s == nil {
		return
	}
	var text [cookieSize]byte
	unit := unitOf(x.who.client)
	copy(text[:], unit[:])
	putTime(text[16:], time.Now())
	cookie := http.Cookie{
		Name: c.Name, Value: s.close(x.cookiePurpose(), text[:]), Path: "/", MaxAge: int(c.MaxAge.Std() / time.Second),
		Secure: x.isSecure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	h["Set-Cookie"] = append(slices.Clip(h["Set-Cookie"]), cookie.String())
}

// isSecure says whether the client came over TLS, to us or to a proxy that we trust.
func (x *exchange) isSecure() bool {
	return x.rec.Client.TLS != 0 || x.who.trusted && strings.EqualFold(x.r.Header.Get("X-Forwarded-Proto"), "https")
}

// forOne says that no shared cache may give an answer to somebody else: it says
// so itself (RFC 9111, section 5.2.2), or it answers a method that changes things
// and says nothing of being stored.
func forOne(method string, h http.Header) bool {
	if len(h["Cdn-Cache-Control"])+len(h["Surrogate-Control"]) > 0 {
		return false
	}
	says := h["Cache-Control"]
	if listHas(says, "private") || listHas(says, "no-store") {
		return true
	}
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return len(says)+len(h["Expires"]) == 0
	}
	return false
}

// cookieOf is the cookie by which the clients of a service are told apart. In a
// rollout it is the baseline's, so that a change of it changes nobody's arm.
func cookieOf(s *served) *selvage.ClientCookie {
	return s.revisions()[0].service.ClientCookie
}
