package control

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

// Role is what somebody may do.
type Role string

// The roles, each of which may do what those before it may.
const (
	Open     Role = "open"     // anybody: without a token
	Viewer   Role = "viewer"   // look
	Operator Role = "operator" // deploy, undo, purge
	Admin    Role = "admin"    // make and revoke tokens
)

var ranks = []Role{Open, Viewer, Operator, Admin}

// may says that a role reaches another one.
func (r Role) may(need Role) bool { return slices.Index(ranks, r) >= slices.Index(ranks, need) }

// roles says for every operation which role it needs, by its method and path.
// What is not here nobody may do. /metrics can be open by a setting.
var roles = map[string]Role{
	"GET /livez":  Open,
	"GET /readyz": Open,

	"GET /version":                           Viewer,
	"GET /metrics":                           Viewer,
	"GET /debug/pprof/":                      Operator,
	"GET /debug/pprof/cmdline":               Operator,
	"GET /debug/pprof/profile":               Operator,
	"GET /debug/pprof/symbol":                Operator,
	"GET /debug/pprof/trace":                 Operator,
	"GET /openapi.json":                      Viewer,
	"GET /openapi.yaml":                      Viewer,
	"GET /openapi-3.0.json":                  Viewer,
	"GET /openapi-3.0.yaml":                  Viewer,
	"GET /schemas/{schema}":                  Viewer,
	"GET /v1/status":                         Viewer,
	"GET /v1/whoami":                         Viewer,
	"GET /v1/changes":                        Viewer,
	"POST /v1/changes":                       Operator,
	"GET /v1/changes/{change}":               Viewer,
	"POST /v1/changes/{change}/undo":         Operator,
	"GET /v1/log":                            Viewer,
	"GET /v1/rollouts":                       Viewer,
	"GET /v1/rollouts/{change}":              Viewer,
	"POST /v1/rollouts/{change}/{action}":    Operator,
	"POST /v1/rollouts/{change}/pass":        Operator,
	"GET /v1/rollouts/{change}/events":       Viewer,
	"GET /v1/revisions":                      Viewer,
	"GET /v1/revisions/{revision}":           Viewer,
	"POST /v1/plan":                          Viewer,
	"PUT /v1/blobs/{digest}":                 Operator,
	"HEAD /v1/blobs/{digest}":                Operator,
	"POST /v1/purges":                        Operator,
	"GET /v1/purges/{position}":              Viewer,
	"POST /v1/why":                           Viewer,
	"POST /service/{service}/purge_all":      Operator,
	"POST /service/{service}/purge":          Operator,
	"POST /service/{service}/purge/{key...}": Operator,
	"POST /purge/{url...}":                   Operator,
	"PURGE /{url...}":                        Operator,
	"GET /v1/tokens":                         Admin,
	"POST /v1/tokens":                        Admin,
	"DELETE /v1/tokens/{name}":               Admin,
}

// caller is who asks.
type caller struct {
	name   string
	role   Role
	tenant selvage.Tenant
	local  bool // by the socket
}

type callerKey struct{}

// whoAsks is the caller of a request that the gate let through.
func whoAsks(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// gate lets through who has the role that an operation needs. find says who asks.
func (s *Server) gate(mux *http.ServeMux, find func(*http.Request) (caller, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		need := s.needs(mux, r)
		who, err := caller{role: Open}, error(nil)
		if need != Open {
			who, err = find(r)
		}
		switch {
		case err != nil:
			refuse(w, err)
		case !who.role.may(need):
			problem(w, http.StatusForbidden, selvage.Denied, "the role "+string(need)+" is needed for this, "+who.name+" is "+string(who.role))
		default:
			mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, who)))
		}
	})
}

// needs is the role that a request needs. Nobody learns without a token what is
// there and what is not.
func (s *Server) needs(mux *http.ServeMux, r *http.Request) Role {
	_, pattern := mux.Handler(r)
	need, known := roles[pattern]
	switch {
	case pattern == "GET /metrics" && s.openMetrics():
		return Open
	case known:
		return need
	case pattern == catchAll:
		return Viewer
	}
	return "nobody's" // no role reaches it
}

func (s *Server) openMetrics() bool {
	return s.Admin.OpenMetrics == "yes" || s.Admin.OpenMetrics == "auto" && loopback(s.Admin.Address)
}

func refuse(w http.ResponseWriter, err error) {
	if errors.Is(err, errTooOften) {
		w.Header().Set("Retry-After", strconv.Itoa(int(wrongWindow/time.Second)))
		problem(w, http.StatusTooManyRequests, selvage.Unavailable, err.Error())
		return
	}
	if selvage.KindOf(err) != selvage.Denied {
		problem(w, statusOf(err), selvage.KindOf(err), err.Error())
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="selvage"`)
	problem(w, http.StatusUnauthorized, selvage.Denied, err.Error())
}

type peerKey struct{}

// withPeer notes the user at the other end of a connection of the socket.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if u, ok := c.(*net.UnixConn); ok {
		if uid, err := peerUID(u); err == nil {
			return context.WithValue(ctx, peerKey{}, uid)
		}
	}
	return ctx
}

// bySocket is who asks by the socket, which lets in the node's own user and root only.
func (s *Server) bySocket(r *http.Request) (caller, error) {
	name := "socket"
	if uid, ok := r.Context().Value(peerKey{}).(int); ok {
		name = "uid " + strconv.Itoa(uid)
		if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
			name = u.Username
		}
	}
	return caller{name, Admin, s.tenant(), true}, nil
}

var (
	errNoToken = selvage.Errorf(selvage.Denied,
		"a token is needed here: Authorization: Bearer TOKEN; selvage token create makes one on the node's own machine")
	errWrongToken = selvage.Errorf(selvage.Denied, "this token is not known here, or was revoked")
	errTooOften   = selvage.Errorf(selvage.Unavailable, "too many wrong tokens came from this address: wait a minute")
)

// byToken is who asks by the admin address.
func (s *Server) byToken(r *http.Request) (caller, error) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if key := r.Header.Get(fastlyKey); key != "" && !ok && isFastly(r) {
		scheme, token, ok = "Bearer", key, true
	}
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return caller{}, errNoToken
	}
	if s.wrong.tooMany(r.RemoteAddr) {
		s.limitHit("wrong_tokens")
		return caller{}, errTooOften
	}
	who, err := s.nodeToken(token)
	if err != nil {
		who, err = s.storedToken(r.Context(), token)
	}
	if errors.Is(err, errWrongToken) {
		s.wrong.note(r.RemoteAddr)
	}
	return who, err
}

// nodeToken compares with the tokens of the node file, all of them, each in constant time.
func (s *Server) nodeToken(token string) (caller, error) {
	sum := sha256.Sum256([]byte(token))
	got, found := []byte(hex.EncodeToString(sum[:])), -1
	for i, want := range s.Admin.Tokens {
		_, hash := nodeFileToken(want)
		if subtle.ConstantTimeCompare(got, []byte(hash)) == 1 {
			found = i
		}
	}
	if found < 0 {
		return caller{}, errWrongToken
	}
	role, _ := nodeFileToken(s.Admin.Tokens[found])
	return caller{nodeFileName(found), role, s.tenant(), false}, nil
}

// nodeFileToken reads SHA256, which is an admin's, or ROLE:SHA256.
func nodeFileToken(text string) (role Role, hash string) {
	before, after, found := strings.Cut(text, ":")
	if !found {
		return Admin, strings.ToLower(text)
	}
	return Role(before), strings.ToLower(after)
}

// nodeFileName is how the log calls a token that has no name.
func nodeFileName(i int) string { return "node-file-" + strconv.Itoa(i+1) }

// What is tolerated of wrong tokens.
const (
	wrongMost   = 10 // of an address in a window; beyond it nothing is compared
	wrongWindow = time.Minute
	wrongTable  = 1024 // addresses; when full the oldest goes
)

// wrongTokens counts wrong tokens by address.
type wrongTokens struct {
	mu    sync.Mutex // guards what follows
	at    map[netip.Prefix]wrongOnes
	order []netip.Prefix // the oldest first
}

type wrongOnes struct {
	count int
	since time.Time
}

// addressOf is the address of a client: in IPv6 the /56 that one site has.
func addressOf(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	a, bits := ap.Addr().Unmap().WithZone(""), 32
	if a.Is6() {
		bits = 56
	}
	p, _ := a.Prefix(bits)
	return p
}

func (w *wrongTokens) tooMany(remote string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.at[addressOf(remote)]
	return o.count >= wrongMost && time.Since(o.since) < wrongWindow
}

func (w *wrongTokens) note(remote string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := addressOf(remote)
	o, known := w.at[at]
	switch {
	case !known:
		if w.at == nil {
			w.at = map[netip.Prefix]wrongOnes{}
		}
		if len(w.order) >= wrongTable {
			delete(w.at, w.order[0])
			w.order = w.order[1:]
		}
		w.order = append(w.order, at)
		o.since = time.Now()
	case time.Since(o.since) >= wrongWindow:
		o = wrongOnes{since: time.Now()}
	}
	o.count++
	w.at[at] = o
}

func (s *Server) limitHit(limit string) {
	if s.OnLimit != nil {
		s.OnLimit(limit)
	}
}

func (s *Server) tenant() selvage.Tenant {
	if s.Tenant == "" {
		return selvage.DefaultTenant
	}
	return s.Tenant
}

// nodeFileTokens lists the tokens of the node file.
func (s *Server) nodeFileTokens() []client.Token {
	var out []client.Token
	for i, t := range s.Admin.Tokens {
		role, _ := nodeFileToken(t)
		out = append(out, client.Token{Name: nodeFileName(i), Role: string(role), Tenant: string(s.tenant()), By: "node file"})
	}
	return out
}
