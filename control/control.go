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
	"github.com/selvage-edge/selvage/state"
)

// Node is what the control API shows.
type Node interface {
	Status() client.Status
	Ready() error          // nil if requests are served
	Metrics() http.Handler // the exposition of its metrics
}

// Server is the control API of one node. Open it, then Run it.
type Server struct {
	Node   Node // set before Run
	Purger Purger
	// Explainer is the node, Others those beside it in its process.
	Explainer Explainer
	Others    []Explainer
	Admin     selvage.Admin
	Data      string // the folder of the socket
	Version   string
	Log       *slog.Logger

	// Tenant is whose services are changed here; empty: selvage.DefaultTenant.
	Tenant selvage.Tenant
	// State holds blobs and tokens. Changes, History and Passes are about changes. Set before Run.
	State   *state.Store
	Changes Changes
	History History
	Passes  Passer
	// OnLimit, if set, hears of every limit that is reached: blob, tokens, wrong_tokens.
	OnLimit func(limit string)

	// Listener is the admin address's, if somebody has opened it already.
	Listener net.Listener

	folder *os.File     // holds the lock of the data folder
	socket net.Listener // nil before Open
	wrong  wrongTokens

	blobMost int64 // bytes of one blob; 0: maxBlob
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
	servers, listeners := []*http.Server{s.server(s.local())}, []net.Listener{s.socket}
	servers[0].ConnContext = withPeer
	if s.Listener != nil {
		servers, listeners = append(servers, s.server(s.remote())), append(listeners, s.Listener)
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

// catchAll is the pattern of what is nowhere.
const catchAll = "/"

// API is the description of the API (OpenAPI 3.1).
func (s *Server) API() *huma.OpenAPI { return s.operations(http.NewServeMux()).OpenAPI() }

func (s *Server) operations(mux *http.ServeMux) huma.API {
	conf := huma.DefaultConfig("Selvage control", s.Version)
	conf.DocsPath, conf.SchemasPath = "", "/schemas"
	conf.CreateHooks = nil // answers carry no $schema link
	conf.Transformers = append(conf.Transformers, withKind)
	api := humago.New(mux, conf)
	type statusOutput struct{ Body client.Status }
	register(api, huma.Operation{
		OperationID: "status", Method: http.MethodGet, Path: "/v1/status",
		Summary: "How the node is", Description: "Its listeners, services, origins and store, and the last minute's traffic.",
	}, func(context.Context, *struct{}) (*statusOutput, error) {
		return &statusOutput{s.Node.Status()}, nil
	})
	type whoOutput struct{ Body client.Token }
	register(api, huma.Operation{
		OperationID: "whoami", Method: http.MethodGet, Path: "/v1/whoami", Summary: "Who asks, and with which role",
	}, func(ctx context.Context, _ *struct{}) (*whoOutput, error) {
		c := whoAsks(ctx)
		return &whoOutput{client.Token{Name: c.name, Role: string(c.role), Tenant: string(c.tenant)}}, nil
	})
	s.changeOperations(api)
	s.revisionOperations(api)
	s.tokenOperations(api)
	s.purges(api, mux)
	s.whyOperation(api)
	return api
}

// local is the API as it is at the socket.
func (s *Server) local() http.Handler { return s.gate(s.mux(), s.bySocket) }

// remote is the API as it is at the admin address.
func (s *Server) remote() http.Handler { return s.guard(s.gate(s.mux(), s.byToken)) }

// mux is the API without its gates.
func (s *Server) mux() *http.ServeMux {
	mux := http.NewServeMux()
	s.operations(mux)
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
	mux.HandleFunc(catchAll, func(w http.ResponseWriter, r *http.Request) {
		if allow := methodsOf(mux, r); len(allow) > 0 {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			problem(w, http.StatusMethodNotAllowed, selvage.Invalid, r.Method+" is not for "+r.URL.Path+": use "+strings.Join(allow, " or "))
			return
		}
		problem(w, http.StatusNotFound, selvage.NotFound, "nothing is at "+r.URL.Path)
	})
	return mux
}

// methodsOf are the methods that something is at a path for.
func methodsOf(mux *http.ServeMux, r *http.Request) []string {
	var out []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := mux.Handler(probe); pattern != catchAll {
			out = append(out, method)
		}
	}
	return out
}

// guard keeps pages of other sites out of the admin address.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.ownHost(r.Host) {
			problem(w, http.StatusMisdirectedRequest, selvage.Denied, "this host name is not the admin address")
			return
		}
		next.ServeHTTP(w, r)
	}))
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

func plain(w http.ResponseWriter, status int, words string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, words)
}
