package edgetest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// client is a connection of the scenario to the edge.
type client interface {
	// start sends a request and returns at once.
	start(x *exchange, r *request)
	// ready says whether another request can be sent on it.
	ready() bool
	// gone says whether the edge has ended the connection.
	gone() bool
	// abandon gives up an exchange: HTTP/1.1 by closing the connection.
	abandon(x *exchange)
	// close ends the connection and waits for what it started. It returns
	// what nobody had asked for.
	close() error
}

// request is what a scenario sends.
type request struct {
	method, target, host string
	script               *script
}

// client1 speaks HTTP/1.x. One goroutine reads all answers in their order, so
// that bytes which nobody asked for are found.
type client1 struct {
	conn    *Conn
	c       net.Conn // conn, or TLS on it
	version string
	br      *bufio.Reader
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	cond    sync.Cond
	pending []*exchange // mu; sent, not yet answered
	current *exchange   // mu; the one that is being answered
	over    bool        // mu; the reader has ended
	last    bool        // mu; an answer said so
	stray   int         // mu; bytes behind the last answer
	quit    bool        // mu
}

// newClient1 speaks over a connection: "http/1.1", "http/1.0", or "tls" for
// HTTP/1.1 inside TLS.
func newClient1(conn *Conn, over string) *client1 {
	k := &client1{conn: conn, c: conn, version: strings.ToUpper(over)}
	if over == "tls" {
		k.version = "HTTP/1.1"
		// The certificate is the node's own; what is tested is not whether it is trusted.
		k.c = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "shop.example"})
	}
	k.br = bufio.NewReader(k.c)
	k.cond.L = &k.mu
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.wg.Go(k.read)
	k.wg.Go(func() {
		select {
		case <-conn.Gone():
			k.cancel()
		case <-k.ctx.Done():
		}
	})
	return k
}

// expectAnswer lets the reader give the next answer to x.
func (k *client1) expectAnswer(x *exchange) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		x.fail(errors.New("the connection is closed"))
		return
	}
	k.pending = append(k.pending, x)
	k.cond.Broadcast()
}

func (k *client1) start(x *exchange, r *request) {
	x.held = r.script.has("unread")
	k.expectAnswer(x)
	w := &wire1{w: k.c, conn: k.conn, method: r.method, target: r.target, version: k.version, host: r.host}
	out := wire(w)
	if asked, _ := r.script.value("Expect"); asked == "100-continue" {
		out = &patient{w, x}
	}
	k.wg.Go(func() {
		// What goes wrong in sending shows in what comes back.
		_ = r.script.play(k.ctx, out, nil)
	})
}

// patient is a wire that waits for 100 (Continue) before the body.
type patient struct {
	*wire1
	x *exchange
}

func (p *patient) head(s *script) error {
	if err := p.wire1.head(s); err != nil {
		return err
	}
	refused := false
	p.x.await(func() bool {
		refused = p.x.status != 0 || p.x.failed != nil
		return refused || len(p.x.interims) > 0
	})
	if refused {
		return errCut
	}
	return nil
}

// sendRaw writes bytes as they are. An error shows in what comes back.
func (k *client1) sendRaw(s string) {
	k.wg.Go(func() { _, _ = io.WriteString(k.c, s) })
}

func (k *client1) read() {
	err := k.readAnswers()
	k.mu.Lock()
	k.over = true
	left := k.pending
	k.pending = nil
	k.mu.Unlock()
	for _, x := range left {
		x.fail(err)
	}
	k.c.Close()
	k.conn.end()
}

func (k *client1) readAnswers() error {
	for {
		if _, err := k.br.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the edge closed the connection")
			}
			return err
		}
		x, err := k.next()
		if err != nil {
			return err
		}
		x.await(func() bool { return !x.held })
		if err := k.readAnswer(x); err != nil {
			x.fail(err)
			return err
		}
	}
}

// next waits for the exchange that the bytes at hand belong to.
func (k *client1) next() (*exchange, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stray = k.br.Buffered()
	for len(k.pending) == 0 && !k.quit {
		k.cond.Wait()
	}
	if len(k.pending) == 0 {
		return nil, net.ErrClosed
	}
	k.stray = 0
	x := k.pending[0]
	k.pending = k.pending[1:]
	k.current = x
	return x, nil
}

func (k *client1) readAnswer(x *exchange) error {
	resp, err := k.readHead(x) //nolint:bodyclose // it is read to its end or its connection is closed
	if err != nil {
		return err
	}
	if len(resp.TransferEncoding) > 0 {
		resp.Header["Transfer-Encoding"] = resp.TransferEncoding
	}
	if resp.Close {
		if resp.ProtoMinor == 1 { // the parser takes it out
			resp.Header.Set("Connection", "close")
		}
		k.mu.Lock()
		k.last = true
		k.mu.Unlock()
	}
	x.noteHead(resp.StatusCode, resp.Proto, resp.Header)
	source := io.Reader(resp.Body)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		source = k.br
	}
	err = copyTo(x, source)
	if errors.Is(err, io.EOF) {
		x.noteEnd(resp.Trailer, nil)
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return errors.New("the tunnel has ended")
		}
		return nil
	}
	x.noteEnd(nil, err)
	return err
}

// readHead reads heads up to a final one.
func (k *client1) readHead(x *exchange) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(k.br, &http.Request{Method: x.method})
		if err != nil {
			return nil, fmt.Errorf("a malformed answer: %w", err)
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
		x.update(func() { x.interims = append(x.interims, interim{resp.StatusCode, resp.Header}) })
	}
}

// copyTo gives x what comes, as it comes. It returns io.EOF at a good end.
func copyTo(x *exchange, r io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			x.update(func() { x.body = append(x.body, buf[:n]...) })
		}
		if err != nil {
			return err
		}
	}
}

func (k *client1) ready() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.over && !k.last && len(k.pending) == 0
}

// said says whether an answer has said that it is the connection's last.
func (k *client1) said() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

func (k *client1) gone() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.over
}

func (k *client1) abandon(*exchange) { k.conn.end() }

func (k *client1) close() error {
	k.mu.Lock()
	k.quit = true
	stray := k.stray
	for _, x := range append(k.pending, k.current) {
		if x != nil {
			x.release()
		}
	}
	k.cond.Broadcast()
	k.mu.Unlock()
	k.cancel()
	k.conn.end()
	k.wg.Wait()
	if stray > 0 {
		return fmt.Errorf("got %d bytes behind the last answer that nobody had asked for", stray)
	}
	return nil
}
