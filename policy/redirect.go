package policy

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage"
)

// redirect is a compiled redirect: the parts of its address.
type redirect struct {
	status    int
	scheme    string   // with ://; empty if the address is a path
	authority template // only with a scheme
	path      template
	query     template
	hasQuery  bool
	fragment  template
}

// compileRedirect answers with another address. What the client sent can
// choose a path there, never another site: not by a second slash at the
// beginning, not by running on from a name in the file (RFC 9110, section 17.11).
func compileRedirect(_ Scope, rt *selvage.Route) (policy, error) {
	if rt.Redirect == nil {
		return policy{}, nil
	}
	r, err := newRedirect(*rt.Redirect, captures(rt))
	if err != nil {
		return policy{}, selvage.Errorf(selvage.Invalid, "redirect: %w", err)
	}
	return policy{request: r.request}, nil
}

func newRedirect(in selvage.Redirect, captures int) (*redirect, error) {
	r := &redirect{status: in.Status}
	switch in.Status {
	case 0:
		r.status = http.StatusPermanentRedirect
	case 301, 302, 303, 307, 308:
	default:
		return nil, selvage.Errorf(selvage.Invalid, "status %d: write 301, 302, 303, 307 or 308", in.Status)
	}
	rest := in.To
	rest, fragment, _ := strings.Cut(rest, "#")
	rest, query, hasQuery := strings.Cut(rest, "?")
	r.hasQuery = hasQuery
	authority := ""
	for _, scheme := range []string{"https://", "http://"} {
		if after, ok := strings.CutPrefix(rest, scheme); ok {
			r.scheme = scheme
			authority, rest = cutAuthority(after)
		}
	}
	for _, part := range []struct {
		to   *template
		text string
	}{{&r.authority, authority}, {&r.path, rest}, {&r.query, query}, {&r.fragment, fragment}} {
		var err error
		if *part.to, err = newTemplate(part.text, captures); err == nil {
			err = part.to.checkLiterals()
		}
		if err != nil {
			return nil, selvage.Errorf(selvage.Invalid, "to: %w", err)
		}
	}
	if r.scheme == "" && (!r.path.rooted() || strings.HasPrefix(in.To, "//")) {
		return nil, selvage.Errorf(selvage.Invalid, "to: %q: write a path that begins with one slash, or a URL with http or https", in.To)
	}
	if r.scheme != "" {
		return r, r.checkAuthority()
	}
	return r, nil
}

// cutAuthority divides what follows the scheme where the path begins.
func cutAuthority(s string) (authority, rest string) {
	end := len(s)
	for _, begin := range []string{"/", "$path"} {
		if i := strings.Index(s, begin); i >= 0 {
			end = min(end, i)
		}
	}
	return s[:end], s[end:]
}

// checkAuthority refuses an authority that a capture would choose a part of.
func (r *redirect) checkAuthority() error {
	if len(r.authority) == 0 {
		return selvage.Errorf(selvage.Invalid, "to: the URL has no host")
	}
	for _, p := range r.authority {
		switch {
		case p.kind == capture:
			return selvage.Errorf(selvage.Invalid, "to: $%d would choose the site: write the host out, or $host", p.n+1)
		case p.kind == literal && !onlyHostBytes(p.text):
			return selvage.Errorf(selvage.Invalid, "to: %q is no part of a host", p.text)
		}
	}
	return nil
}

func (r *redirect) request(x *Exchange) *Answer {
	location, ok := r.location(x)
	if !ok {
		return refuse(x, http.StatusBadRequest, "This address leads nowhere.\n", "redirect: not a host in the address")
	}
	const text = "This page is at another address.\n"
	v := [...]string{location, "text/plain; charset=utf-8", strconv.Itoa(len(text))} // one piece of memory
	return &Answer{Status: r.status, Body: text, Header: http.Header{
		"Location": v[0:1:1], "Content-Type": v[1:2:2], "Content-Length": v[2:3:3],
	}}
}

// location is the address. It is false if the client sent something that is
// no host where one is needed.
func (r *redirect) location(x *Exchange) (string, bool) {
	b := make([]byte, 0, 128)
	b = append(b, r.scheme...)
	for _, p := range r.authority {
		v := p.value(x)
		if p.kind != literal && !isHost(v) {
			return "", false
		}
		b = append(b, v...)
	}
	begin := len(b)
	b = r.path.expand(b, x, pathBytes)
	if r.scheme == "" {
		// "//name" would be another site.
		n := begin
		for n+1 < len(b) && b[n+1] == '/' {
			n++
		}
		b = b[n:]
	}
	if r.hasQuery {
		b = append(b, '?')
		b = r.query.expand(b, x, valueBytes)
	} else if q := x.In.URL.RawQuery; q != "" {
		b = append(b, '?')
		b = escape(b, q, queryBytes)
	}
	if len(r.fragment) > 0 {
		b = append(b, '#')
		b = r.fragment.expand(b, x, queryBytes)
	}
	return string(b), true
}

// isHost says whether s can be a host.
func isHost(s string) bool {
	if strings.HasPrefix(s, "[") {
		inner, ok := strings.CutSuffix(s[1:], "]")
		return ok && inner != "" && strings.Trim(inner, "0123456789abcdefABCDEF:.") == ""
	}
	for i := range len(s) {
		if c := s[i]; !isLetterOrDigit(c) && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && s[0] != '.'
}
