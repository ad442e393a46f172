package node

import (
	"crypto/tls"
	"encoding/base64"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage"
)

// Pseudonym is how this edge names itself in Via, Cache-Status, Proxy-Status and CDN-Loop.
const Pseudonym = "selvage"

// maxHops is how many of our own kind a request may have passed (RFC 8586).
const maxHops = 8

// hopByHop are the fields that belong to one connection (RFC 9110, section 7.6.1).
var hopByHop = [...]string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// upgradeOf is the protocol that a message asks to change to, or changes to; empty if none.
func upgradeOf(h http.Header) string {
	if len(h["Upgrade"]) == 0 || !listHas(h["Connection"], "upgrade") {
		return ""
	}
	return h["Upgrade"][0]
}

// listHas says whether a comma-separated list of tokens has one, which is given in lower case.
func listHas(values []string, token string) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.Trim(part, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// dropHopByHop takes away what belongs to the connection that h came over,
// the fields that Connection names among them.
func dropHopByHop(h http.Header) {
	dropNamed(h, h["Connection"])
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// dropNamed takes away the fields that the values of Connection name.
func dropNamed(h http.Header, connection []string) {
	for _, v := range connection {
		if v == "keep-alive" || v == "close" {
			continue // what it nearly always says names no field
		}
		for name := range strings.SplitSeq(v, ",") {
			h.Del(strings.Trim(name, " \t"))
		}
	}
}

// dropAmbiguous takes away what an application behind CGI or WSGI takes for
// something else: names with an underscore, since it cannot tell X_Forwarded_For
// from X-Forwarded-For, and Proxy, which becomes the HTTP_PROXY of its
// environment (CVE-2016-5385).
func dropAmbiguous(h http.Header) {
	for name := range h {
		if isAmbiguous(name) {
			delete(h, name)
		}
	}
}

func isAmbiguous(name string) bool { return name == "Proxy" || strings.IndexByte(name, '_') >= 0 }

// dropHearsay takes away what proxies in front say of the client and of the
// request as it came to them. Some applications route by X-Original-Url and
// X-Rewrite-Url: a stranger's would lead around the route that was matched.
func dropHearsay(h http.Header) {
	for name := range h {
		if isHearsay(name) {
			delete(h, name)
		}
	}
}

func isHearsay(name string) bool {
	if name == "" || name[0] != 'X' && name[0] != 'F' {
		return name == clientCert || name == clientCert+"-Chain" // nearly all are neither
	}
	switch name {
	case "X-Real-Ip", "X-Client-Ip", "X-Original-Url", "X-Rewrite-Url":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-") || slices.Contains(linkedBy[:], name)
}

// linkedBy are the fields, beside the two in [asForwarded], by which some application makes the
// links in its pages: with one of them a stranger would write into what is stored
// for all.
var linkedBy = [...]string{
	"X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Scheme", "X-Forwarded-Ssl",
	"X-Host", "X-Original-Host", "X-Http-Host-Override", "X-Scheme", "X-Url-Scheme", "Front-End-Https",
}

// dropFromTrailer takes away the trailers that no header would be believed to
// have, and those that are in the header already: an origin that merges the two
// must not get from a trailer what the header was kept free of, or has otherwise.
func dropFromTrailer(trailer, header http.Header) {
	for name := range trailer {
		if _, twice := header[name]; twice || isAmbiguous(name) || isHearsay(name) {
			delete(trailer, name)
		}
	}
}

// lastHop counts Max-Forwards down and says whether the request must be
// answered here (RFC 9110, section 7.6.2). It is for OPTIONS only: TRACE is refused.
func lastHop(h http.Header) bool {
	v, ok := h["Max-Forwards"]
	if !ok {
		return false
	}
	n, err := strconv.ParseUint(v[0], 10, 31)
	if err != nil {
		return false // what cannot be read binds nobody
	}
	if n > 0 {
		h["Max-Forwards"] = []string{strconv.FormatUint(n-1, 10)}
	}
	return n == 0
}

// looped says whether this node has seen the request before, or too many of
// its kind have (RFC 8586). An entry is ours by its cdn-id and node parameter.
func looped(values []string, node selvage.NodeName) bool {
	hops := 0
	for _, v := range values {
		for entry := range strings.SplitSeq(v, ",") {
			id, params, _ := strings.Cut(entry, ";")
			if strings.Trim(id, " \t") != Pseudonym {
				continue
			}
			if hops++; hops > maxHops || strings.Trim(params, " \t") == loopParam(node) {
				return true
			}
		}
	}
	return false
}

func loopParam(node selvage.NodeName) string { return `node="` + string(node) + `"` }

// via11 is our entry of Via on nearly every message; it is shared and not written to.
var via11 = []string{"1.1 " + Pseudonym}

// via adds us to the list of those who passed the message on (RFC 9110, section 7.6.3).
func via(h http.Header, proto string) {
	before := h["Via"]
	if len(before) == 0 && proto == "HTTP/1.1" {
		h["Via"] = via11
		return
	}
	version := "1.1 "
	switch proto {
	case "HTTP/2.0":
		version = "2.0 "
	case "HTTP/1.0":
		version = "1.0 "
	}
	h["Via"] = []string{joinBefore(before, version+Pseudonym)}
}

// party is who is at the other end, and what they said of those behind them.
type party struct {
	client  netip.Addr // the nearest address that is not a trusted proxy
	trusted bool       // the peer is a trusted proxy
}

// whoAsks finds the client's address. Only what trusted proxies say is
// believed, from the nearest one outwards. Where Forwarded and
// X-Forwarded-For are both there and name different clients, one of them was
// written by the client itself, and neither is believed.
func whoAsks(peer netip.Addr, h http.Header, trust []selvage.Prefix) party {
	if !inAny(peer, trust) {
		return party{client: peer}
	}
	xff, haveXFF := h["X-Forwarded-For"]
	fwd, haveFwd := h["Forwarded"]
	switch {
	case haveXFF && haveFwd:
		a, b := walk(peer, splitXFF(xff), trust), walk(peer, splitForwarded(fwd), trust)
		if a != b {
			return party{client: peer, trusted: true}
		}
		return party{client: a, trusted: true}
	case haveXFF:
		return party{client: walk(peer, splitXFF(xff), trust), trusted: true}
	case haveFwd:
		return party{client: walk(peer, splitForwarded(fwd), trust), trusted: true}
	}
	return party{client: peer, trusted: true}
}

// walk goes from the nearest hop outwards until one is not trusted. A hop that
// is no address ends it at the one before.
func walk(peer netip.Addr, hops []string, trust []selvage.Prefix) netip.Addr {
	client := peer
	for _, hop := range slices.Backward(hops) {
		addr, ok := hopAddr(hop)
		if !ok {
			return client
		}
		client = addr
		if !inAny(addr, trust) {
			return client
		}
	}
	return client
}

func inAny(a netip.Addr, prefixes []selvage.Prefix) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// hopAddr reads an address as X-Forwarded-For and Forwarded have it: bare, in
// brackets, with a port.
func hopAddr(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		s, ok = strings.CutSuffix(inner, "]")
		if !ok {
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}

func splitXFF(values []string) []string {
	var hops []string
	for _, v := range values {
		for hop := range strings.SplitSeq(v, ",") {
			hops = append(hops, strings.Trim(hop, " \t"))
		}
	}
	return hops
}

// splitForwarded takes the for= parameter of each element (RFC 7239, section
// 4). An element without one is a hop that nobody knows.
func splitForwarded(values []string) []string {
	var hops []string
	for _, v := range values {
		for _, element := range splitQuoted(v, ',') {
			hop := ""
			for _, pair := range splitQuoted(element, ';') {
				name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
				if strings.EqualFold(name, "for") {
					hop = strings.Trim(value, `"`)
				}
			}
			hops = append(hops, hop)
		}
	}
	return hops
}

// splitQuoted splits at sep, but not inside a quoted string.
func splitQuoted(s string, sep byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == sep && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// forwarded tells the origin who asked. What the peer said of those behind it
// is kept only if the peer is a trusted proxy.
func forwarded(h http.Header, who party, peer netip.Addr, host string, tls bool) {
	proto := "http"
	if tls {
		proto = "https"
	}
	var room [192]byte
	b := peer.AppendTo(room[:0])
	n := len(b)
	text := string(appendForwarded(b, peer, host, proto)) // the address, and the element that has it again
	xff, fwd := text[:n], text[n:]
	if who.trusted {
		xff = joinBefore(h["X-Forwarded-For"], xff)
		fwd = joinBefore(h["Forwarded"], fwd)
	} else {
		dropHearsay(h)
	}
	// One array holds the four values: this is on the way of every request.
	v := [4]string{xff, proto, host, fwd}
	h["X-Forwarded-For"] = v[0:1:1]
	if len(h["X-Forwarded-Proto"]) == 0 {
		h["X-Forwarded-Proto"] = v[1:2:2]
	}
	if len(h["X-Forwarded-Host"]) == 0 {
		h["X-Forwarded-Host"] = v[2:3:3]
	}
	h["Forwarded"] = v[3:4:4]
}

// clientCert tells the origin the certificate of the client (RFC 9440, section 2.2). What
// strangers say there is taken away (section 4): it would be somebody's name.
const clientCert = "Client-Cert"

// tellCertificate tells the origin which certificate of the client was believed, if one was
// and no trusted proxy has told of one that it has seen itself.
func tellCertificate(h http.Header, state *tls.ConnectionState) {
	if state == nil || len(state.VerifiedChains) == 0 || len(h[clientCert]) > 0 {
		return
	}
	h[clientCert] = []string{":" + base64.StdEncoding.EncodeToString(state.PeerCertificates[0].Raw) + ":"}
}

// asForwarded is the scheme and the host by which answers are told apart behind
// a trusted proxy: as the origin is told that they are, with our own Forwarded
// already in the header. The Host that came is a part of it too, since origins may
// look at any. Without that, who can make the proxy pass on a field of theirs chose
// what everybody gets: most proxies write one of these fields and pass the others on.
func asForwarded(h http.Header, scheme, host string) (string, string) {
	if proto := h["X-Forwarded-Proto"]; len(proto) > 0 {
		scheme = strings.Join(proto, ",")
	}
	own := host
	if as := strings.Join(h["X-Forwarded-Host"], ","); as != "" && !strings.EqualFold(as, host) {
		host += "," + as
	}
	add := func(name, value string) {
		if value != "" && !saysNothing(value, scheme, own) {
			host += "," + name + "=" + value
		}
	}
	for _, name := range linkedBy {
		add(name, strings.Join(h[name], ","))
	}
	if elements := splitQuoted(strings.Join(h["Forwarded"], ","), ','); len(elements) > 1 {
		for _, element := range elements[:len(elements)-1] { // the last one is ours
			for _, pair := range splitQuoted(element, ';') {
				name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
				if name = strings.ToLower(name); name == "host" || name == "proto" {
					add(name, strings.Trim(value, `"`))
				}
			}
		}
	}
	return scheme, host
}

// saysNothing: what nearly every proxy sends tells of no other scheme and host
// than those that are known, so that most answers are found by their plain URL.
func saysNothing(value, scheme, host string) bool {
	switch value {
	case "https", "on", "443":
		return scheme == "https"
	case "http", "off", "80":
		return scheme == "http"
	}
	return strings.EqualFold(value, host)
}

func joinBefore(before []string, last string) string {
	if len(before) == 0 {
		return last
	}
	return strings.Join(before, ", ") + ", " + last
}

// appendForwarded appends one element of Forwarded. The host was checked by the
// parser of the request: it holds nothing that would have to be escaped.
func appendForwarded(b []byte, peer netip.Addr, host, proto string) []byte {
	before, after := "for=", `;host="`
	if peer.Is6() {
		before, after = `for="[`, `]";host="`
	}
	b = peer.AppendTo(append(b, before...))
	b = append(append(b, after...), host...)
	return append(append(b, `";proto=`...), proto...)
}
