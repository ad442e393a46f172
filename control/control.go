// Package control is where operators come in: the control API over a unix
// socket in the data folder and over the admin address.
//
// Look at [Server] first. What it shows comes from a [Node], which node.Node is.
//
// It promises that the socket lets in only the user that runs the node and
// root; that the admin address shows nothing of services without a token; that
// a page of another site can neither read nor write (Host check,
// http.CrossOriginProtection); and that every error is a problem of RFC 9457.
// It refuses to serve clients' requests.
package control

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

// Node is what the control API shows.
type Node interface {
	Status() client.Status
	Ready() error          // nil if requests are served
	Metrics() http.Handler // the exposition of its metrics
}

// Server is the control API of one node. Open it, then Run it.
type Server struct {
	Node    Node // set before Run
	Purger  Purger
	Admin   selvage.Admin
	Data    string // the folder of the socket
	Version string
	Log     *slog.Logger

	// Listener is the admin address's, if somebody has opened it already.
	Listener net.Listener

	folder *os.File     // holds the lock of the data folder
	socket net.Listener // nil before Open
}

// Open takes the data folder for this process and opens the socket and the
// admin address, so that what cannot be had is known before anything is served.
// Call Run or Close afterwards.
func (s *Server) Open(ctx context.Context) error {
	if err := s.take(ctx); err != nil {
		s.Close()
		return err
	}
	return nil
}

func (s *Server) take(ctx context.Context) (err error) {
	if s.folder, err = lockFolder(s.Data); err != nil {
		return err
	}
	if s.socket, err = listenSocket(ctx, s.Data); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if s.Admin.Address == "off" || s.Listener != nil {
		return nil
	}
	s.Listener, err = new(net.ListenConfig).Listen(ctx, "tcp", s.Admin.Address)
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // the address is in our own words
	}
	if err != nil {
		s.Listener = nil
		return fmt.Errorf("admin address %s: %w", s.Admin.Address, err)
	}
	return nil
}

// Close gives back what Open took. The socket is removed with it. It may be
// called after Run, and twice.
func (s *Server) Close() {
	if s.socket != nil {
		s.socket.Close()
	}
	if s.Listener != nil {
		s.Listener.Close()
	}
	if s.folder != nil {
		s.folder.Close() // and the lock is gone
	}
}

// AdminAddr is what the admin address is bound to; nil if it is off.
func (s *Server) AdminAddr() net.Addr {
	if s.Listener == nil {
		return nil
	}
	return s.Listener.Addr()
}

// Run answers until ctx ends, then closes.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	servers, listeners := []*http.Server{s.server(s.Handler())}, []net.Listener{s.socket}
	if s.Listener != nil {
		servers, listeners = append(servers, s.server(s.guard(s.Handler()))), append(listeners, s.Listener)
	}
	ended := make(chan error, len(servers))
	for i, srv := range servers {
		go func() { ended <- srv.Serve(listeners[i]) }() // waited for below
	}
	first, waiting := error(nil), len(servers)
	select {
	case <-ctx.Done():
	case first = <-ended:
		waiting--
	}
	for _, srv := range servers {
		srv.Close()
	}
	for range waiting {
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			first = errors.Join(first, err)
		}
	}
	return first
}

func (s *Server) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
}

// Handler is the API without its guard.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	conf := huma.DefaultConfig("Selvage control", s.Version)
	conf.DocsPath, conf.SchemasPath = "", "/schemas"
	conf.CreateHooks = nil // answers carry no $schema link
	api := humago.New(mux, conf)
	type statusOutput struct{ Body client.Status }
	huma.Register(api, huma.Operation{
		OperationID: "status", Method: http.MethodGet, Path: "/v1/status",
		Summary: "How the node is", Description: "Its listeners, services, origins and store, and the last minute's traffic.",
	}, func(context.Context, *struct{}) (*statusOutput, error) {
		return &statusOutput{s.Node.Status()}, nil
	})
	s.purges(api, mux)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Node.Ready(); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		plain(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, s.Version) })
	mux.Handle("GET /metrics", s.Node.Metrics())
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, selvage.NotFound, "nothing is at "+r.URL.Path)
	})
	return mux
}

// guard lets in who may come in by the admin address.
func (s *Server) guard(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return cross.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !s.ownHost(r.Host):
			problem(w, http.StatusMisdirectedRequest, selvage.Denied, "this host name is not the admin address")
		case s.open(r.URL.Path) || s.hasToken(r):
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="selvage"`)
			problem(w, http.StatusUnauthorized, selvage.Denied,
				"a token is needed here: Authorization: Bearer TOKEN, with its SHA-256 in the node file under admin.tokens")
		}
	}))
}

// open says what is answered without a token.
func (s *Server) open(path string) bool {
	switch path {
	case "/livez", "/readyz":
		return true
	case "/metrics":
		return s.Admin.OpenMetrics == "yes" || s.Admin.OpenMetrics == "auto" && loopback(s.Admin.Address)
	}
	return false
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// ownHost refuses names that a page of another site made point at us (DNS
// rebinding): only addresses, localhost and the configured host are ours.
func (s *Server) ownHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "localhost" {
		return true
	}
	own, _, err := net.SplitHostPort(s.Admin.Address)
	return err == nil && own != "" && strings.EqualFold(own, host)
}

// hasToken compares in constant time what the token hashes to.
func (s *Server) hasToken(r *http.Request) bool {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if key := r.Header.Get(fastlyKey); key != "" && !ok && isFastly(r) {
		scheme, token, ok = "Bearer", key, true
	}
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	sum := sha256.Sum256([]byte(token))
	got, found := []byte(hex.EncodeToString(sum[:])), 0
	for _, want := range s.Admin.Tokens {
		found |= subtle.ConstantTimeCompare(got, []byte(strings.ToLower(want)))
	}
	return found == 1
}

func plain(w http.ResponseWriter, status int, words string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, words)
}
