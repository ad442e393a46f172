package edgetest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
)

// client2 speaks HTTP/2 with the standard library's transport, which has one
// connection for all its requests.
type client2 struct {
	transport *http.Transport
	scheme    string
	wg        sync.WaitGroup
	mu        sync.Mutex
	conns     []*Conn                          // mu
	cancels   map[*exchange]context.CancelFunc // mu
}

func newClient2(dial func(context.Context) (*Conn, error), secure bool) *client2 {
	k := &client2{scheme: "http", cancels: make(map[*exchange]context.CancelFunc)}
	if secure {
		k.scheme = "https"
	}
	k.transport = &http.Transport{
		DisableCompression: true,
		Protocols:          new(http.Protocols),
		// The certificate is the node's own; what is tested is not whether it is trusted.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			k.conns = append(k.conns, c)
			return c, nil
		},
	}
	k.transport.Protocols.SetHTTP2(secure)
	k.transport.Protocols.SetUnencryptedHTTP2(!secure)
	return k
}

func (k *client2) start(x *exchange, r *request) {
	ctx, cancel := context.WithCancel(context.Background())
	k.mu.Lock()
	k.cancels[x] = cancel
	k.mu.Unlock()
	x.held = r.script.has("unread")
	k.wg.Go(func() {
		defer cancel()
		k.exchange(ctx, cancel, x, r)
	})
}

func (k *client2) exchange(ctx context.Context, cancel context.CancelFunc, x *exchange, r *request) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			x.update(func() { x.interims = append(x.interims, interim{code, http.Header(h).Clone()}) })
			return nil
		},
	})
	host, ok := r.script.value("Host")
	if !ok {
		host = r.host
	}
	req := (&http.Request{
		Method: r.method, Host: host, Header: make(http.Header),
		URL: &url.URL{Scheme: k.scheme, Host: host, Opaque: "//" + host + r.target},
	}).WithContext(ctx)
	for _, f := range r.script.fields {
		if !strings.EqualFold(f.name, "Host") {
			req.Header.Add(f.name, f.value)
		}
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header.Set("User-Agent", "")
	}
	k.body(ctx, cancel, req, r.script)
	resp, err := k.transport.RoundTrip(req)
	if err != nil {
		x.fail(err)
		return
	}
	defer resp.Body.Close()
	x.noteHead(resp.StatusCode, resp.Proto, resp.Header)
	x.await(func() bool { return !x.held })
	if err := copyTo(x, resp.Body); !errors.Is(err, io.EOF) {
		x.noteEnd(nil, err)
		return
	}
	x.noteEnd(resp.Trailer, nil)
}

// body attaches the request's body.
func (k *client2) body(ctx context.Context, cancel context.CancelFunc, req *http.Request, s *script) {
	if !s.streams() && !s.has("close") && !s.has("reset") {
		if s.body != "" {
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(s.body)), int64(len(s.body))
		}
		return
	}
	r, w := io.Pipe()
	req.Body, req.ContentLength = r, -1
	for _, t := range s.trailers() {
		if req.Trailer == nil {
			req.Trailer = make(http.Header)
		}
		req.Trailer.Add(t.name, t.value)
	}
	k.wg.Go(func() {
		err := s.play(ctx, pipeWire{w, cancel}, nil)
		if errors.Is(err, errCut) {
			w.CloseWithError(err)
			return
		}
		_ = w.Close() // it never fails
	})
}

// pipeWire sends a request's body; its head and trailers are the transport's.
type pipeWire struct {
	w      *io.PipeWriter
	cancel context.CancelFunc
}

func (p pipeWire) interim(int, []field) error { return nil }
func (p pipeWire) head(*script) error         { return nil }
func (p pipeWire) send(string) error          { return http.ErrNotSupported }
func (p pipeWire) end([]field) error          { return nil }
func (p pipeWire) cut(bool)                   { p.cancel() }

func (p pipeWire) body(s string) error {
	_, err := io.WriteString(p.w, s)
	return err
}

func (k *client2) ready() bool { return !k.gone() }

func (k *client2) gone() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		select {
		case <-c.Gone():
		default:
			return false
		}
	}
	return len(k.conns) > 0
}

func (k *client2) abandon(x *exchange) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cancels[x]()
}

func (k *client2) close() error {
	k.mu.Lock()
	for x, cancel := range k.cancels {
		x.release()
		cancel()
	}
	k.mu.Unlock()
	k.wg.Wait()
	k.transport.CloseIdleConnections()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		c.Reset()
	}
	return nil
}
