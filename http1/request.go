package http1

import (
	"bytes"
	"net/http"
	"net/netip"
	"strings"
)

// demand is what a request's head asks of the connection.
type demand struct {
	framing   framing
	host      span // the authority: of an absolute-form target, else of the Host field
	keepAlive bool
	expect    bool // the client waits for 100 Continue
	upgrade   bool // it offers to go on as something else
	h2c       bool // … as HTTP/2 without TLS, which is ignored
	absolute  bool
}

// demand decides everything about a whole request head that its parts do not
// decide alone. An error is a *Refusal.
func (h *Head) demand() (d demand, err error) {
	if string(h.Method()) == http.MethodConnect {
		return d, &Refusal{Status: http.StatusNotImplemented, Why: "CONNECT is not implemented"}
	}
	if d.framing, err = h.requestFraming(); err != nil {
		return d, err
	}
	if d.framing.kind != noBody && string(h.Method()) == http.MethodTrace {
		return d, refuse("TRACE with a body")
	}
	if err := h.authority(&d); err != nil {
		return d, err
	}
	if err := h.connection(&d); err != nil {
		return d, err
	}
	if d.framing.kind == chunked && h.Has(NameTrailer) {
		if err := h.announcedTrailers(); err != nil {
			return d, err
		}
	}
	return d, h.expectation(&d)
}

var errHost = refuse("malformed Host")

// authority checks the form of the target and finds the host it is at.
func (h *Head) authority(d *demand) error {
	host := h.Value(NameHost)
	switch {
	case h.Repeated(NameHost):
		return refuse("more than one Host")
	case host == nil && h.minor == 1:
		return refuse("no Host")
	case host != nil && !isAuthority(host):
		return errHost
	}
	for i := range h.list {
		if h.list[i].id == NameHost {
			d.host = h.list[i].value
		}
	}
	t := h.Target()
	if t[0] == '/' {
		return checkPath(t)
	}
	if string(t) == "*" && string(h.Method()) == http.MethodOptions {
		return nil
	}
	n := schemeLength(t)
	if n == 0 {
		return refuse("malformed request target")
	}
	d.absolute = true
	rest := t[n:]
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if !isAuthority(rest[:end]) {
		return errHost
	}
	if host != nil && !bytes.EqualFold(host, rest[:end]) {
		return refuse("request target and Host disagree")
	}
	d.host = span{h.target.from + int32(n), h.target.from + int32(n+end)}
	return checkPath(rest[end:])
}

// schemeLength is the length of http:// or https:// in front of t, 0 without.
func schemeLength(t []byte) int {
	for _, s := range []string{"http://", "https://"} {
		if len(t) >= len(s) && strings.EqualFold(string(t[:len(s)]), s) {
			return len(s)
		}
	}
	return 0
}

// checkPath refuses a percent sign in the path that begins no escape.
func checkPath(t []byte) error {
	if bytes.IndexByte(t, '%') < 0 {
		return nil
	}
	for {
		i := bytes.IndexAny(t, "%?")
		if i < 0 || t[i] == '?' {
			return nil
		}
		if len(t) < i+3 || hexDigit(t[i+1]) < 0 || hexDigit(t[i+2]) < 0 {
			return refuse("malformed escape in the request target")
		}
		t = t[i+3:]
	}
}

// isAuthority takes a host name of letters, digits, hyphens, underscores and
// single dots, or an IPv6 address in brackets, and a port from 1 to 65535.
func isAuthority(b []byte) bool {
	if len(b) == 0 || len(b) > 261 {
		return false
	}
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return false
		}
		a, err := netip.ParseAddr(string(b[1:end]))
		return err == nil && a.Is6() && a.Zone() == "" && isPort(b[end+1:])
	}
	dot := true // an empty label is not a label
	for i, c := range b {
		switch {
		case hostChars[c]:
			dot = false
		case c == '.' && !dot:
			dot = true
		case c == ':' && i > 0:
			return isPort(b[i:])
		default:
			return false
		}
	}
	return true
}

// hostChars are the characters of a label.
var hostChars = newHostChars()

func newHostChars() (t [256]bool) {
	for _, c := range []byte("-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}

// isPort takes nothing, or a colon and a port.
func isPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) < 2 || len(b) > 6 {
		return false
	}
	n := 0
	for _, c := range b[1:] {
		if !isDigit(c) {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return 0 < n && n <= 65535
}

// notHopByHop are fields that no connection option may name, because a proxy
// in front of us or behind us would take them away (RFC 9110, section 7.6.1).
var notHopByHop = setOf(NameAuthorization, NameCacheControl, NameCDNLoop, NameContentEncoding, NameContentLength,
	NameContentRange, NameContentType, NameCookie, NameForwarded, NameHost, NameRange, NameTransferEncoding, NameVia,
	NameXForwardedFor, NameXForwardedHost, NameXForwardedProto)

// connection reads the connection options.
func (h *Head) connection(d *demand) error {
	d.keepAlive = h.minor == 1
	if !h.Has(NameConnection) {
		return nil
	}
	var closing, keep, upgrade bool
	for _, f := range h.list {
		if f.id != NameConnection {
			continue
		}
		for option := range bytes.SplitSeq(h.at(f.value), []byte{','}) {
			option = trimOWS(option)
			switch {
			case len(option) == 0:
			case !isToken(option):
				return refuse("malformed Connection")
			case equalFold(option, "close"):
				closing = true
			case equalFold(option, "keep-alive"):
				keep = true
			case equalFold(option, "upgrade"):
				upgrade = true
			case notHopByHop.has(lookUpName(option)):
				return refuse("Connection names a field that is not of the connection")
			}
		}
	}
	d.keepAlive = (d.keepAlive || keep) && !closing
	d.upgrade = upgrade && h.Has(NameUpgrade) && h.minor == 1
	if d.upgrade && bytes.Contains(bytes.ToLower(h.Value(NameUpgrade)), []byte("h2c")) {
		d.upgrade, d.h2c = false, true
	}
	return nil
}

// expectation knows 100-continue and nothing else. HTTP/1.0 has none
// (RFC 9110, section 10.1.1).
func (h *Head) expectation(d *demand) error {
	if !h.Has(NameExpect) || h.minor == 0 {
		return nil
	}
	if h.Repeated(NameExpect) || !equalFold(h.Value(NameExpect), "100-continue") {
		return &Refusal{Status: http.StatusExpectationFailed, Why: "unknown expectation"}
	}
	d.expect = d.framing.kind != noBody
	return nil
}

// announcedTrailers refuses the announcement of a trailer that would be refused.
func (h *Head) announcedTrailers() error {
	for _, f := range h.list {
		if f.id != NameTrailer {
			continue
		}
		list, ok := tokenList(nil, h.at(f.value))
		if !ok {
			return refuse("malformed Trailer")
		}
		for _, t := range list {
			if frames.has(lookUpName(t)) {
				return refuse("a trailer frames the message")
			}
		}
	}
	return nil
}
