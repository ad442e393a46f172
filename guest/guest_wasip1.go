package guest

import (
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"unsafe"
)

// Serve answers the request that the program was started for. It is called once,
// from main. A handler that panics, or returns nil, gives no answer: what becomes of the
// request then, the service says with on_failure.
func Serve(handler func(*Request) *Response) {
	var handle, body uint32
	must("get the request", hostDownstream(&handle, &body))
	serve(handle, body, handler)
}

// ServeMany answers requests one after the other, until no other comes. Where
// the service does not say reuse, that is one. What the handler leaves in
// variables is there for the next request; what it leaves open is closed.
func ServeMany(handler func(*Request) *Response) {
	var handle, body uint32
	must("get the request", hostDownstream(&handle, &body))
	for {
		serve(handle, body, handler)
		var promise uint32
		must("ask for another request", hostNext(0, nil, &promise))
		switch status := hostNextWait(promise, &handle, &body); status {
		case 0:
		case none:
			return
		default:
			must("wait for another request", status)
		}
	}
}

func serve(handle, body uint32, handler func(*Request) *Response) {
	r := &Request{Body: &Body{handle: body, open: true}, client: true}
	r.Method, _ = text(func(buf unsafe.Pointer, size uint32, n *uint32) uint32 { return hostMethodGet(handle, buf, size, n) })
	r.URL, _ = text(func(buf unsafe.Pointer, size uint32, n *uint32) uint32 { return hostURIGet(handle, buf, size, n) })
	r.Header = header(
		func(buf unsafe.Pointer, size, cursor uint32, next *int64, n *uint32) uint32 {
			return hostRequestNames(handle, buf, size, cursor, next, n)
		},
		func(name string) func(unsafe.Pointer, uint32, uint32, *int64, *uint32) uint32 {
			return func(buf unsafe.Pointer, size, cursor uint32, next *int64, n *uint32) uint32 {
				p, length := at(name)
				return hostRequestValues(handle, p, length, buf, size, cursor, next, n)
			}
		})
	if resp := handler(r); resp != nil {
		resp.respond()
	}
}

// header reads all fields of a message.
func header(
	names func(unsafe.Pointer, uint32, uint32, *int64, *uint32) uint32,
	values func(name string) func(unsafe.Pointer, uint32, uint32, *int64, *uint32) uint32,
) Header {
	h := Header{}
	for _, name := range list(names) {
		h[name] = list(values(name))
	}
	return h
}

// Header is the fields of a message. Names are in lower case; the methods take
// them in any. Fields of one connection only are left out on the way (RFC 9110, section 7.6.1).
type Header map[string][]string

// Get is the first value of a field, empty without one.
func (h Header) Get(name string) string {
	if v := h[strings.ToLower(name)]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set gives a field one value.
func (h Header) Set(name, value string) { h[strings.ToLower(name)] = []string{value} }

// Add gives a field one more value.
func (h Header) Add(name, value string) {
	name = strings.ToLower(name)
	h[name] = append(h[name], value)
}

// Del takes a field away.
func (h Header) Del(name string) { delete(h, strings.ToLower(name)) }

// Request is a request: of a client, or to an origin. One of a client may be
// changed and sent on, with its body as it comes.
type Request struct {
	Method string
	URL    string // with scheme and host
	Header Header
	Body   *Body // may be nil

	client bool
}

// NewRequest is a request to be sent to an origin.
func NewRequest(method, url string) *Request {
	return &Request{Method: method, URL: url, Header: Header{}}
}

// Path is the path of the URL, as it came.
func (r *Request) Path() string {
	rest := r.URL
	if _, after, ok := strings.Cut(rest, "://"); ok {
		rest = after
	}
	if i := strings.IndexAny(rest, "/?"); i < 0 {
		return "/"
	} else if rest = rest[i:]; rest[0] == '?' {
		return "/"
	}
	rest, _, _ = strings.Cut(rest, "?")
	return rest
}

// Cookie is the value of a cookie, empty without one (RFC 6265, section 4.2).
func (r *Request) Cookie(name string) string {
	for _, line := range r.Header["cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if n, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && n == name {
				return v
			}
		}
	}
	return ""
}

// Client is the address of the client, empty if it is not known.
func (r *Request) Client() string {
	var octets [16]byte
	var n uint32
	if !r.client || hostClient(unsafe.Pointer(&octets[0]), &n) != 0 || n > 16 {
		return ""
	}
	a, ok := netip.AddrFromSlice(octets[:n])
	if !ok {
		return ""
	}
	return a.String()
}

// Send sends the request to an origin, by the name that the service has for it,
// and waits for the head of its answer. An answer of any status is no error; there
// is none where the service has no such origin, the origin cannot be reached or is too
// slow, or the function has made all the requests that its limit fetches allows.
func (r *Request) Send(origin string) (*Response, error) {
	p, err := r.Start(origin)
	if err != nil {
		return nil, err
	}
	return p.Wait()
}

// Start sends the request to an origin and does not wait. Its body belongs to
// the origin then. Requests that are started one after the other are under way together.
func (r *Request) Start(origin string) (*Pending, error) {
	var handle uint32
	must("make a request", hostRequestNew(&handle))
	p, size := at(r.Method)
	if err := failed("method "+r.Method, hostMethodSet(handle, p, size)); err != nil {
		return nil, err
	}
	p, size = at(r.URL)
	if err := failed("URL "+r.URL, hostURISet(handle, p, size)); err != nil {
		return nil, err
	}
	err := r.Header.write(func(name, value string) uint32 {
		n, nSize := at(name)
		v, vSize := at(value)
		return hostRequestAppend(handle, n, nSize, v, vSize)
	})
	if err != nil {
		return nil, err
	}
	pending := &Pending{origin: origin}
	p, size = at(origin)
	status := hostSend(handle, r.Body.take(), p, size, &pending.handle)
	if status == invalid {
		return nil, errors.New("ask " + origin + ": the service has no origin of this name, or the function may not ask it")
	}
	if err := failed("ask "+origin, status); err != nil {
		return nil, err
	}
	return pending, nil
}

func (h Header) write(put func(name, value string) uint32) error {
	for name, values := range h {
		for _, v := range values {
			if err := failed("field "+name, put(name, v)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Pending is a request on its way.
type Pending struct {
	handle uint32
	origin string
}

// Wait waits for the head of the answer, once. Its errors are those of [Request.Send].
func (p *Pending) Wait() (*Response, error) {
	var handle, body uint32
	if err := failed("wait for "+p.origin, hostWait(p.handle, &handle, &body)); err != nil {
		return nil, err
	}
	var status uint16
	must("get the status", hostStatusGet(handle, &status))
	r := &Response{Status: int(status), Body: &Body{handle: body, open: true}}
	r.Header = header(
		func(buf unsafe.Pointer, size, cursor uint32, next *int64, n *uint32) uint32 {
			return hostResponseNames(handle, buf, size, cursor, next, n)
		},
		func(name string) func(unsafe.Pointer, uint32, uint32, *int64, *uint32) uint32 {
			return func(buf unsafe.Pointer, size, cursor uint32, next *int64, n *uint32) uint32 {
				p, length := at(name)
				return hostResponseValues(handle, p, length, buf, size, cursor, next, n)
			}
		})
	return r, nil
}

// Response is an answer: an origin's, or the program's own. A status of 0 is 200.
// An origin's may be changed and given to the client, with its body as it comes.
type Response struct {
	Status int
	Header Header
	Body   *Body // may be nil
}

// Text is an answer in plain text.
func Text(status int, body string) *Response {
	return &Response{Status: status, Header: Header{"content-type": {"text/plain; charset=utf-8"}}, Body: NewBody(body)}
}

// HTML is an answer in HTML.
func HTML(status int, body string) *Response {
	return &Response{Status: status, Header: Header{"content-type": {"text/html; charset=utf-8"}}, Body: NewBody(body)}
}

// Redirect is an answer that leads elsewhere.
func Redirect(status int, to string) *Response {
	return &Response{Status: status, Header: Header{"location": {to}}}
}

// Stream sends the head now and returns what takes the body, which must be closed.
// What is written is sent at once; a write waits while the client does not read.
// The handler returns nil then.
func (r *Response) Stream() (io.WriteCloser, error) {
	body, err := r.send(1)
	return stream{body}, err
}

func (r *Response) respond() {
	if _, err := r.send(0); err != nil {
		panic(err)
	}
}

func (r *Response) send(streaming uint32) (body uint32, err error) {
	var handle uint32
	must("make an answer", hostResponseNew(&handle))
	if r.Status == 0 {
		r.Status = 200
	}
	if err := failed("status "+strconv.Itoa(r.Status), hostStatusSet(handle, uint32(r.Status))); err != nil {
		return 0, err
	}
	err = r.Header.write(func(name, value string) uint32 {
		n, nSize := at(name)
		v, vSize := at(value)
		return hostResponseAppend(handle, n, nSize, v, vSize)
	})
	if err != nil {
		return 0, err
	}
	body = r.Body.take()
	return body, failed("answer", hostRespond(handle, body, streaming))
}

// stream is a body on its way to the client.
type stream struct{ body uint32 }

// Write implements io.Writer.
func (s stream) Write(p []byte) (int, error) { return writeBody(s.body, p) }

// Close implements io.Closer. Without it the client sees an answer that broke off.
func (s stream) Close() error { return failed("end the answer", hostBodyClose(s.body)) }

func writeBody(body uint32, p []byte) (int, error) {
	written := 0
	for written < len(p) {
		var n uint32
		at, size := room(p[written:])
		if err := failed("write", hostBodyWrite(body, at, size, 0, &n)); err != nil {
			return written, err
		}
		written += int(n)
	}
	return written, nil
}

// Body is the body of a message. What comes from outside is read as it comes.
type Body struct {
	handle uint32
	open   bool // handle is a body of the host's
	data   []byte
}

// NewBody is a body with this text.
func NewBody(text string) *Body { return &Body{data: []byte(text)} }

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	if b == nil || !b.open {
		if b == nil || len(b.data) == 0 {
			return 0, io.EOF
		}
		n := copy(p, b.data)
		b.data = b.data[n:]
		return n, nil
	}
	if len(p) == 0 {
		return 0, nil
	}
	var n uint32
	at, size := room(p)
	if err := failed("read", hostBodyRead(b.handle, at, size, &n)); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, io.EOF
	}
	return int(n), nil
}

// Text reads the body to its end. It may need memory for all of it, twice.
func (b *Body) Text() (string, error) {
	all, err := io.ReadAll(b)
	return string(all), err
}

// take gives the body to the host.
func (b *Body) take() uint32 {
	if b != nil && b.open {
		b.open = false
		return b.handle
	}
	var handle uint32
	must("make a body", hostBodyNew(&handle))
	if b != nil && len(b.data) > 0 {
		if _, err := writeBody(handle, b.data); err != nil {
			panic(err)
		}
	}
	return handle
}

// Config is a value of a config store, false where the store or the key is not there.
func Config(store, key string) (string, bool) {
	var handle uint32
	p, size := at(store)
	if hostConfigOpen(p, size, &handle) != 0 {
		return "", false
	}
	return text(func(buf unsafe.Pointer, bufSize uint32, n *uint32) uint32 {
		p, size := at(key)
		return hostConfigGet(handle, p, size, buf, bufSize, n)
	})
}

// Secret is a value of a secret store that the service was granted, false where
// there is none.
func Secret(store, key string) (string, bool) {
	var handle, secret uint32
	p, size := at(store)
	if hostSecretsOpen(p, size, &handle) != 0 {
		return "", false
	}
	p, size = at(key)
	if hostSecretsGet(handle, p, size, &secret) != 0 {
		return "", false
	}
	return text(func(buf unsafe.Pointer, size uint32, n *uint32) uint32 { return hostSecretText(secret, buf, size, n) })
}
