package http1

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// Server serves HTTP/1.1 and HTTP/1.0 on connections that somebody else
// accepted. Handler must be set; all other fields work as they are. No field
// may change after the first call of ServeConn.
//
// Handlers may always read the request while they write the answer, as a proxy
// must (net/http calls it full duplex). Unlike net/http the server neither
// guesses a Content-Type nor passes on a Connection field that a handler set,
// but for its option close and for the answers 101 and 426.
type Server struct {
	Handler http.Handler
	// Hot is asked before the Handler. It may be nil.
	Hot Hot
	// Limits bound a request. A zero field stands for its documented default.
	Limits selvage.Limits
	// Deadlines bound how long a client may take. All zero stands for the
	// documented defaults; beside a field that is set, 0 is no bound.
	Deadlines selvage.Deadlines
	// Log takes the panics of handlers and nothing else. nil is slog.Default.
	Log *slog.Logger
	// KeepNames says whether requests are to know the names of their fields as they
	// came, see [FieldNamesOf]. nil: they are not.
	KeepNames func() bool
	// Done is called once for every request that Hot did not answer, the refused
	// ones too, when its answer is through and its handler has returned.
	Done func(*record.Record)
	// OnLimit is called when a limit or a deadline was hit that no record given to
	// Done tells of, with its name: those of selvage.Limits, and deadline_head
	// and so on. It must not wait.
	OnLimit func(limit string)

	once     sync.Once
	limits   selvage.Limits
	waits    waits
	draining atomic.Bool
	date     atomic.Pointer[dateField]
	watch    watcher

	mu    sync.Mutex // guards what follows
	conns map[*conn]struct{}
	empty chan struct{} // closed when the last connection ends while Drain waits
}

// ConnInfo is what the listener knows about a connection.
type ConnInfo struct {
	Peer, Local netip.AddrPort // Peer is the client, also behind a PROXY protocol header
	TLS         *tls.ConnectionState
	Handshake   *Handshake // how TLS began; nil without
}

// Hot answers requests without a handler, from the bytes of their heads. It is
// asked for every whole head of a GET or HEAD request in HTTP/1.1 that has no
// body, wants no upgrade and keeps the connection open; everything that this
// package refuses was refused before.
//
// Where it can, it appends an answer's whole head to dst, with its empty line,
// and returns that as head, with the body, of which nothing is changed or
// kept; the body of an answer to HEAD is not sent. Such answers make no record
// here: Hot counts them. h points into the connection's buffer and must not be
// kept. Answer must not wait.
type Hot interface {
	Answer(now time.Time, h *Head, conn *ConnInfo, dst []byte) (head, body []byte, ok bool)
}

// The bounds that are no settings.
const (
	pipelineBatch = 32        // answers to pipelined requests before other connections have their turn
	maxDrain      = 256 << 10 // of a request body that the handler left
	lingerTime    = 2 * time.Second
	writePart     = 64 << 10 // of an answer under one write deadline, where the driver cannot see progress
)

func (s *Server) prepare() {
	s.once.Do(func() {
		s.limits = s.Limits.OrDefaults()
		d := s.Deadlines.OrDefaults()
		s.waits = waits{write: d.Write.Std(), total: d.Total.Std()}
		s.waits.read = [...]time.Duration{fresh: d.Head.Std(), idle: d.Idle.Std(), inHead: d.Head.Std(), serving: d.Body.Std()}
		s.conns = make(map[*conn]struct{})
	})
}

func (s *Server) headLimits() headLimits {
	return headLimits{head: int(s.limits.Head), target: int(s.limits.Target), fields: s.limits.Fields}
}

// ServeConn serves one connection until its end and closes it, unless a handler
// took it over. prefix was read from it already. It blocks. When ctx ends the
// connection is cut. Requests carry the values of ctx and their record.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn, info ConnInfo, prefix []byte) {
	s.prepare()
	c := newConn(ctx, s, nc, info)
	if !s.track(c) {
		_ = nc.Close()
		return
	}
	defer s.untrack(c)
	stop := context.AfterFunc(ctx, c.cut)
	defer stop()
	c.serve(prefix)
}

// track notes a connection. It says no once the server drains.
func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// Drain takes no new requests: idle connections are closed, requests that have
// begun are answered with Connection: close. It waits for them, upgraded
// connections included, cuts what is left when ctx ends, and returns ctx's
// error then.
func (s *Server) Drain(ctx context.Context) error {
	s.prepare()
	s.mu.Lock()
	s.draining.Store(true)
	if len(s.conns) > 0 && s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	for c := range s.conns {
		c.nudge()
	}
	s.mu.Unlock()
	if empty == nil {
		return nil
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.cut()
	}
	return context.Cause(ctx)
}

// recordedLimit counts a limit that a record tells of where nobody gets the records.
func (s *Server) recordedLimit(name string) {
	if s.Done == nil {
		s.limitHit(name)
	}
}

func (s *Server) limitHit(name string) {
	if s.OnLimit != nil {
		s.OnLimit(name)
	}
}

func (s *Server) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.Default()
}

// dateField is the Date field of one second.
type dateField struct {
	second int64
	line   []byte
}

// appendDate writes the Date field. It is made once a second.
func (s *Server) appendDate(dst []byte, now time.Time) []byte {
	d := s.date.Load()
	if second := now.Unix(); d == nil || d.second != second {
		d = &dateField{second, appendField(nil, "Date", now.UTC().Format(http.TimeFormat))}
		s.date.Store(d)
	}
	return append(dst, d.line...)
}
