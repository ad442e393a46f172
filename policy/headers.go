package policy

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/selvage-edge/selvage"
)

// framing are the fields that frame a message or belong to one connection
// (RFC 9110, section 7.6.1, and RFC 9112, section 6), and the one that keeps
// requests from going in circles (RFC 8586). No file may touch them.
var framing = []string{
	"Cdn-Loop", "Connection", "Content-Length", "Host", "Http2-Settings", "Keep-Alive", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}

// edits are compiled changes to header fields, in the form of http.Header's keys.
type edits struct {
	remove []string
	set    []field
	add    []field
}

type field struct{ name, value string }

// compileHeaders changes header fields: first remove, then set, then add.
func compileHeaders(_ Scope, rt *selvage.Route) (policy, error) {
	request, err := newEdits(rt.Headers.Request)
	if err != nil {
		return policy{}, selvage.Errorf(selvage.Invalid, "headers: request: %w", err)
	}
	response, err := newEdits(rt.Headers.Response)
	if err != nil {
		return policy{}, selvage.Errorf(selvage.Invalid, "headers: response: %w", err)
	}
	var p policy
	if request != nil {
		p.request = func(x *Exchange) *Answer {
			request.apply(x.Out.Header)
			return nil
		}
	}
	if response != nil {
		p.response = func(_ *Exchange, h http.Header) { response.apply(h) }
	}
	return p, nil
}

// newEdits is nil where there is nothing to change.
func newEdits(in selvage.HeaderEdits) (*edits, error) {
	if len(in.Remove)+len(in.Set)+len(in.Add) == 0 {
		return nil, nil
	}
	e := new(edits)
	for _, name := range in.Remove {
		key, err := fieldName(name)
		if err != nil {
			return nil, err
		}
		e.remove = append(e.remove, key)
	}
	var err error
	if e.set, err = newFields(in.Set); err != nil {
		return nil, err
	}
	if e.add, err = newFields(in.Add); err != nil {
		return nil, err
	}
	return e, nil
}

// newFields are the fields in the order of their names, so that every node sends them alike.
func newFields(in map[string]string) ([]field, error) {
	var out []field
	for _, name := range slices.Sorted(maps.Keys(in)) {
		key, err := fieldName(name)
		if err != nil {
			return nil, err
		}
		value := strings.Trim(in[name], " \t")
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, selvage.Errorf(selvage.Invalid, "field %s: its value has a control character", name)
		}
		out = append(out, field{key, value})
	}
	return out, nil
}

func fieldName(name string) (string, error) {
	if !isToken(name) {
		return "", selvage.Errorf(selvage.Invalid, "%q is not a field name", name)
	}
	key := http.CanonicalHeaderKey(name)
	if slices.Contains(framing, key) {
		return "", selvage.Errorf(selvage.Invalid, "field %s belongs to the connection or frames the message and cannot be changed", key)
	}
	return key, nil
}

func (e *edits) apply(h http.Header) {
	for _, name := range e.remove {
		delete(h, name)
	}
	for _, f := range e.set {
		h[f.name] = []string{f.value}
	}
	for _, f := range e.add {
		h[f.name] = append(slices.Clip(h[f.name]), f.value)
	}
}

// isToken says whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !isLetterOrDigit(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

func isLetterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
