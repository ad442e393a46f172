package fastly

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The longest URI and the longest method, in bytes.
const (
	maxURI    = 8 << 10
	maxMethod = 1 << 10
)

// The versions of HTTP, as the interface numbers them.
const (
	http09 uint32 = iota
	http10
	http11
	http2
	http3
)

// request is a request of the guest's, or the client's, of which much is not looked at as a rule.
type request struct {
	method   string
	version  uint32
	from     *downstream // its address and fields are those of the client's request until they were asked for; nil: the guest's own
	address  string      // empty before that; see uri
	list     header      // see header
	listed   bool        // list is there
	override CacheOverride
	manual   bool // the framing is that of the fields
	gunzip   bool
}

// CacheOverride is what a guest wants of the cache for one request. Fetch finds it with [OverrideOf].
type CacheOverride struct {
	// Pass asks the origin, and stores nothing.
	Pass bool
	// TTL is how long the answer is fresh, whatever it says of itself. Nil: as it says.
	TTL *time.Duration
	// StaleWhileRevalidate is how long it may be used stale meanwhile. Nil: as it says.
	StaleWhileRevalidate *time.Duration
	// PCI says that the answer is too sensitive for a disk.
	PCI bool
	// SurrogateKeys are tags beside those that it carries, with spaces between.
	SurrogateKeys string
}

// The bits of a cache override.
const (
	overridePass = 1 << iota
	overrideTTL
	overrideSWR
	overridePCI
)

func protocol(major, minor int) uint32 {
	switch {
	case major >= 3:
		return http3
	case major == 2:
		return http2
	case major == 1 && minor == 0:
		return http10
	case major == 0:
		return http09
	}
	return http11
}

// downstreamRequest is the client's request as a guest sees it.
func (x *exchange) downstreamRequest() *request {
	d, r := x.down, &x.first.request
	if r.from != nil { // it is a later request of this guest
		r = new(request)
	}
	r.method, r.version, r.from = d.R.Method, protocol(d.R.ProtoMajor, d.R.ProtoMinor), d
	return r
}

// uri is where it goes.
func (r *request) uri() string {
	if r.address != "" {
		return r.address
	}
	d := r.from
	u := *d.R.URL
	u.Scheme, u.Host, u.User, u.Fragment = "http", d.R.Host, nil, ""
	if d.Client.TLS || d.R.TLS != nil {
		u.Scheme = "https"
	}
	if u.Path == "" {
		u.Path = "/"
	}
	r.address = u.String()
	return r.address
}

// header is its fields.
func (r *request) header() *header {
	if r.from != nil && !r.listed {
		r.list = fromHTTP(r.from.Header(), r.from.R.Host)
	}
	r.listed = true
	return &r.list
}

// downstreamBody is the body of the client's request.
func (x *exchange) downstreamBody() *body {
	d, b := x.down, x.newBody()
	if d.R.Body == nil || d.R.ContentLength == 0 {
		return b
	}
	x.watch()
	s := &stream{r: &d.client, left: d.R.ContentLength, trailer: clientTrailer(d.R)}
	b.parts, b.pending = []part{{stream: s}}, true
	return b
}

// give2 gives two handles out, to the addresses in parameters i and i+1.
func (c *call) give2(i int, first, second any) Status {
	c.at(c.u32(i+1), 4)
	status := c.give(i, first)
	if status != OK {
		return status
	}
	if status = c.give(i+1, second); status != OK {
		c.x.handles.drop(uint32(len(c.x.handles.items)))
	}
	return status
}

// bodyDownstreamGet gives the client's request, the same handles each time.
func bodyDownstreamGet(c *call) Status {
	d := c.x.down
	if d.taken {
		c.put32(0, d.handle)
		c.put32(1, d.handle+1)
		return OK
	}
	status := c.give2(0, c.x.downstreamRequest(), c.x.downstreamBody())
	if status == OK {
		d.taken = true
		d.handle = uint32(len(c.x.handles.items)) - 1
	}
	return status
}

func requestNew(c *call) Status {
	return c.give(0, &request{method: "GET", address: "/", version: http11})
}

func requestClose(c *call) Status {
	if _, ok := handle[*request](c, 0); !ok {
		return BadHandle
	}
	c.x.handles.drop(c.u32(0))
	return OK
}

// onRequest is a function of a request's handle, which is its first parameter.
func onRequest(do func(c *call, r *request) Status) func(*call) Status {
	return func(c *call) Status {
		r, ok := handle[*request](c, 0)
		if !ok {
			return BadHandle
		}
		return do(c, r)
	}
}

// onRequestFields is one of its fields.
func onRequestFields(do func(c *call, h *header) Status) func(*call) Status {
	return onRequest(func(c *call, r *request) Status { return do(c, r.header()) })
}

func methodGet(c *call, r *request) Status { return answer(c, 1, r.method) }

func methodSet(c *call, r *request) Status {
	if c.u32(2) > maxMethod {
		return HTTPInvalid
	}
	method := c.text(1)
	if c.bad {
		return Invalid
	}
	if !isToken(method) {
		return HTTPInvalid
	}
	r.method = method
	return OK
}

func uriGet(c *call, r *request) Status { return answer(c, 1, r.uri()) }

func uriSet(c *call, r *request) Status {
	if c.u32(2) > maxURI {
		return HTTPInvalid
	}
	uri := c.text(1)
	if c.bad {
		return Invalid
	}
	clean, ok := checkURI(uri)
	if !ok {
		return HTTPInvalid
	}
	r.address = clean
	return OK
}

// checkURI looks at a URI, and gives one without a path the path "/".
func checkURI(uri string) (string, bool) {
	for i := range len(uri) {
		if b := uri[i]; b <= ' ' || b == 0x7f {
			return "", false
		}
	}
	u, err := url.Parse(uri)
	if err != nil || uri == "" {
		return "", false
	}
	if u.Scheme != "" && u.Host == "" {
		return "", false
	}
	if u.Host != "" && u.Path == "" {
		u.Path = "/"
		return u.String(), true
	}
	return uri, true
}

func requestVersionGet(c *call, r *request) Status {
	c.put32(1, r.version)
	return OK
}

func requestVersionSet(c *call, r *request) Status {
	if c.u32(1) > http3 {
		return Invalid
	}
	r.version = c.u32(1)
	return OK
}

func cacheOverrideSet(c *call, r *request) Status {
	tag := c.u32(1)
	if tag&^(overridePass|overrideTTL|overrideSWR|overridePCI) != 0 {
		return Invalid
	}
	o := CacheOverride{Pass: tag&overridePass != 0, PCI: tag&overridePCI != 0}
	if tag&overrideTTL != 0 {
		d := time.Duration(c.u32(2)) * time.Second
		o.TTL = &d
	}
	if tag&overrideSWR != 0 {
		d := time.Duration(c.u32(3)) * time.Second
		o.StaleWhileRevalidate = &d
	}
	r.override = o
	return OK
}

func cacheOverrideSetKeys(c *call, r *request) Status {
	if c.u32(5) > maxNames {
		return LimitExceeded
	}
	keys := string(c.bytes(4))
	if c.bad || !isFieldValue(keys) {
		return Invalid
	}
	if !c.keep(len(keys)) {
		return LimitExceeded
	}
	if status := cacheOverrideSet(c, r); status != OK {
		return status
	}
	r.override.SurrogateKeys = strings.TrimSpace(keys)
	return OK
}

// encodingGzip is the only encoding that is undone.
const encodingGzip = 1

func autoDecompressSet(c *call, r *request) Status {
	if c.u32(1)&^encodingGzip != 0 {
		return Invalid
	}
	r.gunzip = c.u32(1)&encodingGzip != 0
	return OK
}

func requestFramingSet(c *call, r *request) Status {
	if c.u32(1) > 1 {
		return Invalid
	}
	r.manual = c.u32(1) == 1
	return OK
}

// isLength says whether these are the values of a Content-Length (RFC 9110, section 8.6).
func isLength(values []string) bool {
	if len(values) != 1 {
		return false
	}
	_, err := strconv.ParseUint(values[0], 10, 63)
	return err == nil
}

// framedLength is the length that fields framed by hand say: one Content-Length
// of digits and no Transfer-Encoding but chunked (RFC 9112, section 6).
func framedLength(h *header) (length int64, ok bool) {
	lengths, codings := h.values("content-length"), h.values("transfer-encoding")
	switch {
	case len(codings) > 1 || len(codings) == 1 && !strings.EqualFold(codings[0], "chunked"):
		return 0, false
	case len(codings) == 1:
		return -1, true
	case len(lengths) != 1:
		return 0, false
	}
	n, err := strconv.ParseUint(lengths[0], 10, 63)
	return int64(n), err == nil
}
