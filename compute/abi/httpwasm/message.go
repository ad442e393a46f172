package httpwasm

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/selvage-edge/selvage/compute"
)

// before ends a guest that changes the request when it was sent on.
func (c *call) before() {
	if c.x.after {
		c.fail("the request was sent on")
	}
}

// open ends a guest that changes the answer when it was sent on.
func (c *call) open() {
	if c.x.sent {
		c.fail("the answer was sent on: enable buffer_response to change it")
	}
}

func setMethod(c *call) {
	c.before()
	method := c.text(0)
	if !isToken(method) || method == http.MethodConnect {
		c.fail("%q is no method of a request", method)
	}
	c.x.r.Method = method
}

func setURI(c *call) {
	c.before()
	uri := c.text(0)
	if uri == "" {
		uri = "/"
	}
	u, err := url.ParseRequestURI(uri)
	if err != nil || !strings.HasPrefix(uri, "/") || strings.Contains(uri, "#") {
		c.fail("%q is no path with a query", uri)
	}
	at := *c.x.r.URL
	at.Path, at.RawPath, at.RawQuery, at.ForceQuery = u.Path, u.RawPath, u.RawQuery, u.ForceQuery
	if strings.HasPrefix(uri, "//") { // which parses as a host
		path, query, _ := strings.Cut(uri, "?")
		unescaped, err := url.PathUnescape(path)
		if err != nil {
			c.fail("%q is no path with a query", uri)
		}
		at.Path, at.RawPath, at.RawQuery = unescaped, path, query
	}
	c.x.r.URL = &at
}

func sourceAddr(c *call) {
	if a := c.x.in.Client.Address; a.IsValid() {
		c.give(a.String())
		return
	}
	c.give(c.x.r.RemoteAddr)
}

func setStatus(c *call) {
	c.open()
	status := c.u32(0)
	if status < 200 || status > 599 {
		c.fail("%d is no status of an answer", status)
	}
	c.x.status, c.x.answered = int(status), c.x.after
}

// The kinds of fields.
const (
	ofRequest = iota
	ofResponse
	ofRequestTrailers
	ofResponseTrailers
)

// fields are those of the kind in parameter 0. They are nil for trailers that were not enabled.
func (c *call) fields() http.Header {
	switch kind := c.u32(0); kind {
	case ofRequest:
		return c.x.r.Header
	case ofResponse:
		return c.x.header
	case ofRequestTrailers, ofResponseTrailers:
		switch {
		case !c.x.has(trailers):
			return nil
		case kind == ofResponseTrailers:
			return c.x.trailer
		case c.x.r.Trailer == nil:
			c.x.r.Trailer = make(http.Header)
		}
		// Those that came are there once the body has been read.
		for name, values := range c.x.in.R.Trailer {
			if c.x.r.Trailer[name] == nil {
				c.x.r.Trailer[name] = slices.Clone(values)
			}
		}
		return c.x.r.Trailer
	default:
		c.fail("there is no kind %d of fields", kind)
		return nil
	}
}

// changing are the fields of parameter 0, to be changed.
func (c *call) changing() http.Header {
	h := c.fields()
	switch c.u32(0) {
	case ofRequest, ofRequestTrailers:
		c.before()
	default:
		c.open()
	}
	if h == nil {
		c.fail("trailers were not enabled")
	}
	return h
}

// fieldName is the name by the parameters 1 and 2.
func (c *call) fieldName() string {
	name := c.text(1)
	c.copied(len(name))
	if !isToken(name) {
		c.fail("%.64q is no name of a field", name)
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// fieldValue is the value by the parameters 3 and 4.
func (c *call) fieldValue() string {
	value := c.text(3)
	c.copied(len(value))
	if strings.ContainsAny(value, "\r\n\x00") {
		c.fail("a field's value may not have %q", "\r\n\x00")
	}
	return value
}

func headerNames(c *call) {
	h := c.fields()
	names := slices.Collect(maps.Keys(h))
	if c.u32(0) == ofRequest && c.x.r.Host != "" && h["Host"] == nil {
		names = append(names, "Host")
	}
	for i := range names {
		names[i] = strings.ToLower(names[i])
	}
	slices.Sort(names)
	c.giveAll(1, names)
}

func headerValues(c *call) {
	h, name := c.fields(), c.fieldName()
	if c.u32(0) == ofRequest && name == "Host" {
		c.giveAll(3, []string{c.x.r.Host})
		return
	}
	c.giveAll(3, h[name])
}

func setHeader(c *call) { c.setHeader(false) }

func addHeader(c *call) { c.setHeader(true) }

func (c *call) setHeader(add bool) {
	h, name, value := c.changing(), c.fieldName(), c.fieldValue()
	if c.u32(0) == ofRequest && name == "Host" {
		c.setHost(add, value)
		return
	}
	c.size(name, value)
	if add {
		h[name] = append(h[name], value)
		return
	}
	h[name] = []string{value}
}

// setHost sets what is no field of a request but the name that it is for.
func (c *call) setHost(add bool, value string) {
	if add || value == "" || strings.ContainsAny(value, "/\\?#@ \t") {
		c.fail("a request is for one host, which %.64q is not", value)
	}
	c.x.r.Host = value
}

// size bounds what is written to fields, of all kinds together.
func (c *call) size(name, value string) {
	const each = 32 // what a field costs beside its bytes
	c.x.added += len(name) + len(value) + each
	if most := 4 * c.g.Limits().HeaderBytes; c.x.added > most {
		c.g.Abort(c.g.Limit(compute.LimitHeaderBytes, "it wrote more than %d KiB of fields", most>>10))
	}
}

func removeHeader(c *call) {
	h, name := c.changing(), c.fieldName()
	if c.u32(0) == ofRequest && name == "Host" {
		c.fail("a request is for one host")
	}
	delete(h, name)
}

// The kinds of bodies.
const (
	requestBody = iota
	responseBody
)

// eof is what read_body adds to the length at the end of a body.
const eof = 1 << 32

func readBody(c *call) {
	if c.u32(2) == 0 {
		c.fail("its buffer has no room")
	}
	buf := c.memory(1)
	switch kind := c.u32(0); kind {
	case requestBody:
		c.readRequest(buf)
	case responseBody:
		c.open()
		n := copy(buf, c.x.unread)
		c.x.unread = c.x.unread[n:]
		c.copied(n)
		c.read(n, len(c.x.unread) == 0)
	default:
		c.fail("there is no kind %d of bodies", kind)
	}
}

func (c *call) read(n int, end bool) {
	c.answer(uint64(n))
	if end {
		c.answer(eof | uint64(n))
	}
}

// readRequest fills the buffer from the request's body, so that the end is seen with the last bytes.
func (c *call) readRequest(buf []byte) {
	if c.x.after && !c.x.has(bufferRequest) {
		c.fail("the request was sent on: enable buffer_request to read its body later")
	}
	if c.x.r.Body == nil || c.x.after {
		c.read(0, true)
		return
	}
	n, err := io.ReadFull(c.x.r.Body, buf)
	if c.x.has(bufferRequest) {
		if limit := c.x.keep(n); limit != nil {
			c.g.Abort(limit)
		}
		c.x.early = append(c.x.early, buf[:n]...)
	} else {
		c.x.lost = c.x.lost || n > 0
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		c.g.Abort(fmt.Errorf("read body of request: %w", err))
	}
	c.copied(n)
	c.read(n, err != nil)
}

func writeBody(c *call) {
	p := c.memory(1)
	var to **[]byte
	switch kind := c.u32(0); kind {
	case requestBody:
		c.before()
		to = &c.x.written
	case responseBody:
		c.open()
		if c.x.after && !c.x.overwritten { // what was written before the origin was asked is not added to
			c.x.overwritten, c.x.answered, c.x.body = true, true, nil
		}
		to = &c.x.body
	default:
		c.fail("there is no kind %d of bodies", kind)
	}
	if limit := c.x.keep(len(p)); limit != nil {
		c.g.Abort(limit)
	}
	c.copied(len(p))
	if *to == nil {
		*to = new([]byte)
	}
	**to = append(**to, p...)
}

// isToken accepts methods and names of fields (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && len(s) <= 1<<14 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}
