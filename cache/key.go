package cache

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/selvage-edge/selvage"
)

// Key names what is stored: the URL as the client sees it, within a service of
// a tenant, and what the policy adds. There is no method in it: answers to GET are stored, from which HEAD
// is answered, and those to QUERY, which have their content in the key. Paths and queries are compared byte by byte.
type Key struct {
	Tenant   selvage.Tenant
	Service  selvage.ServiceName
	Scheme   string // http or https: a redirect from the one to the other is not an answer for both
	Host     string // in lower case, without the scheme's own port
	Path     string // escaped, as it came
	Query    string
	HasQuery bool   // tells /a? from /a
	Rules    string // those of the policy by which the query was narrowed, empty for none
	Fields   string // the values of request fields and cookies that the rules name: never to be shown
	Content  string // of a QUERY: the digest of its body and what describes it
	Overlay  uint32 // of a revision on trial, see [Layer]; 0 is the store itself
}

type asideKey struct{}

// aside is what a context carries for the cache beside its request.
type aside struct {
	url      *url.URL
	override *Override
}

func asideOf(ctx context.Context) aside {
	a, _ := ctx.Value(asideKey{}).(aside)
	return a
}

// WithURL returns a context that carries the URL by which answers are keyed,
// for a request whose own URL a policy has rewritten: two routes that rewrite to
// the same path may lead to different origins. Its Scheme and Host may be empty,
// then the request's hold.
func WithURL(ctx context.Context, u *url.URL) context.Context {
	next := asideOf(ctx)
	next.url = u
	return context.WithValue(ctx, asideKey{}, next)
}

// keyOf is the key of a request. The scheme is that of the request's URL, which
// the node sets to the client's; without one it is told by TLS.
func keyOf(scope *Scope, req *http.Request) Key {
	key, _ := keyAndOverride(scope, req)
	return key
}

// keyAndOverride is the key of a request, and what else its context says.
func keyAndOverride(scope *Scope, req *http.Request) (Key, *Override) {
	u, host := req.URL, cmp.Or(req.Host, req.URL.Host)
	beside := asideOf(req.Context())
	if v := beside.url; v != nil {
		u, host = v, cmp.Or(v.Host, host)
	}
	scheme := cmp.Or(u.Scheme, req.URL.Scheme)
	if scheme == "" {
		scheme = "http"
		if req.TLS != nil {
			scheme = "https"
		}
	}
	return keyOfURL(scope, scheme, host, u), beside.override
}

func keyOfURL(scope *Scope, scheme, host string, u *url.URL) Key {
	path := u.Opaque
	if path == "" {
		path = u.EscapedPath()
	}
	if path == "" {
		path = "/"
	}
	scheme = strings.ToLower(scheme)
	return Key{
		Tenant:   scope.Tenant,
		Service:  scope.Service,
		Scheme:   scheme,
		Host:     normalHost(scheme, host),
		Path:     path,
		Query:    u.RawQuery,
		HasQuery: u.RawQuery != "" || u.ForceQuery,
	}
}

// normalHost makes equal what names the same host (RFC 9110, section 4.2.3).
func normalHost(scheme, host string) string {
	host = strings.ToLower(host)
	switch scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":")
}

// clone is the key in memory of its own: the strings of a request's key share
// the request head's, which a stored answer must not keep alive.
func (k Key) clone() Key {
	k.Scheme = once(k.Scheme) // of these there are few
	k.Host = once(k.Host)
	k.Path = strings.Clone(k.Path)
	k.Query = strings.Clone(k.Query)
	k.Fields = strings.Clone(k.Fields)
	return k
}

// url is the key without what tells apart the answers for one URL: what makes the
// URL invalid ends them all.
func (k Key) url() Key {
	k.Fields, k.Content, k.Overlay = "", "", 0
	return k
}
