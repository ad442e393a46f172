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
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Origin is an origin server on a [Network] that does what its script says.
// Without one it answers 200 with its name and the number of the request:
// "one 1", "one 2". It reads a request whole before it answers, sends 100
// (Continue) where it is asked to, and answers 304 where the script has an ETag
// or a Last-Modified that the request names.
type Origin struct {
	Name    string
	Network *Network
	Address netip.AddrPort
	// H2 makes it speak HTTP/2: without TLS by prior knowledge.
	H2 bool
	// TLS, where it is set, is spoken before anything else.
	TLS *tls.Config

	mu       sync.Mutex
	listener net.Listener
	rules    []*rule  // mu; in the order in which they were given
	seen     []*Seen  // mu
	conns    []*Conn  // mu; all it ever had
	served   int      // mu; requests without a rule of their own path
	problems []string // mu
}

// rule is a script and when it is played.
type rule struct {
	script *script
	path   string // empty: any
	left   int    // how often yet; negative: for ever
}

// Seen is a request as an origin saw it.
type Seen struct {
	At      time.Time
	From    netip.AddrPort
	Method  string
	Target  string
	Proto   string
	Header  http.Header // with Host, Transfer-Encoding and Trailer
	Body    []byte
	Trailer http.Header
	// Gone is set when the other side ended the connection or stream before the
	// answer's end, or ended a tunnel.
	Gone bool
}

// Listen announces the origin's address. Dials are refused before.
func (o *Origin) Listen() error {
	l, err := o.Network.Listen("tcp", o.Address.String())
	if err != nil {
		return fmt.Errorf("origin %s: %w", o.Name, err)
	}
	o.listener = l
	return nil
}

// Run serves until ctx ends; then it closes its connections and waits for
// what it started. Listen goes before it.
func (o *Origin) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = o.listener.Close() })
	defer stop()
	if o.H2 {
		return o.runH2(ctx)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := o.listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		conn := o.admit(c)
		wg.Go(func() { o.serve(ctx, conn) })
	}
}

func (o *Origin) admit(c net.Conn) *Conn {
	conn := c.(*Conn)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conns = append(o.conns, conn)
	return conn
}

// Down refuses new connections and resets the open ones.
func (o *Origin) Down() {
	o.Network.Refuse(o.Address)
	o.cutAll()
}

// Unreachable lets new connections hang and resets the open ones.
func (o *Origin) Unreachable() {
	o.Network.Unreachable(o.Address)
	o.cutAll()
}

// Up takes back Down and Unreachable.
func (o *Origin) Up() { o.Network.Heal(o.Address) }

func (o *Origin) cutAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.conns {
		c.Reset()
	}
}

// Script changes what the origin does, in the words of a scenario: the line
// is what stands behind the origin's name, the block its indented lines.
//
//	o.Script("answers 200 hello", "Cache-Control: max-age=60")
//	o.Script("twice answers 503 busy")
func (o *Origin) Script(line string, block ...string) error {
	lines := make([]blockLine, len(block))
	for i, l := range block {
		lines[i] = blockLine{pos{"script", i + 2}, l}
	}
	r, err := parseRule(line, lines)
	if err != nil {
		return fmt.Errorf("origin %s: %w", o.Name, err)
	}
	o.set(r)
	return nil
}

func (o *Origin) set(r rule) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rules = append(o.rules, &r)
}

// pick is the script for a request: of those for its path, or else of those for
// any, the first that is played a number of times and has not yet been, or else
// the last that stands.
func (o *Origin) pick(target string) *script {
	path, _, _ := strings.Cut(target, "?")
	o.mu.Lock()
	defer o.mu.Unlock()
	if slices.ContainsFunc(o.rules, func(r *rule) bool { return r.path == path }) {
		if s := o.takeLocked(path); s != nil {
			return s
		}
	} else {
		o.served++
	}
	if s := o.takeLocked(""); s != nil {
		return s
	}
	return &script{status: http.StatusOK, body: fmt.Sprintf("%s %d", o.Name, o.served)}
}

func (o *Origin) takeLocked(path string) *script {
	var standing *script
	for _, r := range o.rules {
		switch {
		case r.path != path:
		case r.left < 0:
			standing = r.script
		case r.left > 0:
			r.left--
			return r.script
		}
	}
	return standing
}

// Requests is how many requests came, those to a path with an answer of its
// own not counted.
func (o *Origin) Requests() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.served
}

// Connections is how many connections came.
func (o *Origin) Connections() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns)
}

// Last is a copy of the last request, false if there was none.
func (o *Origin) Last() (Seen, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.seen) == 0 {
		return Seen{}, false
	}
	return *o.seen[len(o.seen)-1], true
}

// Problems are the requests that were not well-formed HTTP: an edge must not
// send such ones on.
func (o *Origin) Problems() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.problems...)
}

func (o *Origin) problem(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.problems = append(o.problems, fmt.Sprintf(format, args...))
}

// note keeps a request whose head has come.
func (o *Origin) note(r *http.Request) *Seen {
	h := r.Header.Clone()
	h.Set("Host", r.Host)
	if len(r.TransferEncoding) > 0 {
		h["Transfer-Encoding"] = r.TransferEncoding
	}
	for name := range r.Trailer {
		h.Add("Trailer", name)
	}
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	s := &Seen{At: time.Now(), From: from, Method: r.Method, Target: r.RequestURI, Proto: r.Proto, Header: h}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, s)
	return s
}

func (o *Origin) update(s *Seen, f func(*Seen)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(s)
}

// readBody reads what is left of a request's body and notes it.
func (o *Origin) readBody(s *Seen, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	o.update(s, func(s *Seen) {
		s.Body = append(s.Body, body...)
		s.Trailer = r.Trailer.Clone()
	})
	return err
}

// noting is a body that notes what is read of it.
type noting struct {
	o *Origin
	s *Seen
	r io.Reader
}

func (n noting) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	n.o.update(n.s, func(s *Seen) { s.Body = append(s.Body, p[:k]...) })
	return k, err
}

// serve speaks HTTP/1.1 on one connection.
func (o *Origin) serve(ctx context.Context, conn *Conn) {
	defer conn.end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, conn.end)
	defer stop()
	c := net.Conn(conn)
	if o.TLS != nil {
		c = tls.Server(conn, o.TLS)
	}
	br := bufio.NewReader(c)
	for o.exchange(ctx, conn, c, br) {
	}
}

// exchange serves one request and says whether another may follow.
func (o *Origin) exchange(ctx context.Context, conn *Conn, c net.Conn, br *bufio.Reader) bool {
	r, err := http.ReadRequest(br)
	if err != nil {
		if !cutOff(err) {
			o.problem("a malformed request: %v", err)
		}
		return false
	}
	r.RemoteAddr = conn.RemoteAddr().String()
	seen := o.note(r)
	s := o.pick(r.RequestURI).answer(r)
	w := &wire1{w: c, conn: conn, method: r.Method}
	if !s.has("early") {
		if r.Header.Get("Expect") == "100-continue" && r.ContentLength != 0 {
			if w.interim(http.StatusContinue, nil) != nil {
				return false
			}
		}
		if !s.has("echo") {
			if err := o.readBody(seen, r); err != nil {
				o.bodyFailed(seen, err)
				return false
			}
		}
	}
	var source io.Reader = noting{o, seen, r.Body}
	if s.status == http.StatusSwitchingProtocols {
		source = br
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() { // ends with this call
		select {
		case <-conn.Gone():
			cancel()
		case <-done:
		}
	}()
	if err := s.play(ctx, w, source); err != nil {
		if !s.has("close") && !s.has("reset") {
			o.update(seen, func(s *Seen) { s.Gone = true })
		}
		return false
	}
	if s.status == http.StatusSwitchingProtocols {
		o.update(seen, func(s *Seen) { s.Gone = true })
		return false
	}
	if err := o.readBody(seen, r); err != nil {
		o.bodyFailed(seen, err)
		return false
	}
	told, _ := s.value("Connection")
	return !r.Close && !strings.EqualFold(told, "close")
}

func (o *Origin) bodyFailed(seen *Seen, err error) {
	o.update(seen, func(s *Seen) { s.Gone = true })
	if !cutOff(err) {
		o.problem("a malformed body: %v", err)
	}
}

// cutOff says whether err is the end of the connection rather than bad bytes.
func cutOff(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	return isNet || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// answer is the script for one request: mirrors and conditions are decided.
func (s *script) answer(r *http.Request) *script {
	switch {
	case s.raw:
		return s
	case s.mirrors && r.Header.Get("Upgrade") != "":
		return &script{
			status: http.StatusSwitchingProtocols,
			fields: []field{{"Connection", "Upgrade"}, {"Upgrade", r.Header.Get("Upgrade")}},
			steps:  []step{{do: "head"}, {do: "echo"}},
		}
	case s.mirrors:
		return &script{status: http.StatusOK, fields: s.fields, steps: []step{{do: "head"}, {do: "echo"}}}
	case s.status == http.StatusOK && s.current(r):
		out := *s
		out.status, out.body = http.StatusNotModified, ""
		out.steps = nil
		for _, st := range s.steps {
			if st.do == "wait" {
				out.steps = append(out.steps, st)
			}
		}
		return &out
	}
	return s
}

// current says whether the request names the answer's validator.
func (s *script) current(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if asked := r.Header.Get("If-None-Match"); asked != "" {
		tag, ok := s.value("ETag")
		return ok && (asked == "*" || strings.Contains(asked, strings.TrimPrefix(tag, "W/")))
	}
	since := r.Header.Get("If-Modified-Since")
	changed, ok := s.value("Last-Modified")
	return ok && since != "" && since == changed
}
