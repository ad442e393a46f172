package cache

import (
	"encoding/binary"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/selvage-edge/selvage"
)

// keyRules is what a policy says of keys. It never changes; nil says nothing.
type keyRules struct {
	text       string // all of it in one form, which is part of keys: those by different rules never meet
	narrows    bool   // some of the query may not matter
	ignore     bool
	keep, drop parameterSet
	sort       bool
	headers    []string // canonical, sorted
	cookies    []string // sorted
}

// parameterSet is names of parameters, and beginnings of names.
type parameterSet struct {
	names  []string // sorted
	begins []string
}

func newParameterSet(names []string) (s parameterSet) {
	for _, name := range names {
		if begin, ok := strings.CutSuffix(name, "*"); ok {
			s.begins = append(s.begins, begin)
		} else {
			s.names = append(s.names, name)
		}
	}
	slices.Sort(s.names)
	slices.Sort(s.begins)
	return s
}

func (s *parameterSet) empty() bool { return len(s.names)+len(s.begins) == 0 }

func (s *parameterSet) has(name string) bool {
	if _, found := slices.BinarySearch(s.names, name); found {
		return true
	}
	return slices.ContainsFunc(s.begins, func(b string) bool { return strings.HasPrefix(name, b) })
}

func (s *parameterSet) form(what string) string {
	if s.empty() {
		return ""
	}
	var b strings.Builder
	b.WriteString(what)
	for _, name := range s.names {
		b.WriteString("&" + url.QueryEscape(name))
	}
	for _, name := range s.begins {
		b.WriteString("&" + url.QueryEscape(name) + "*")
	}
	return b.String() + ";"
}

// newKeyRules are the rules of a policy, nil if it has none.
func newKeyRules(k *selvage.CacheKey) *keyRules {
	if k == nil {
		return nil
	}
	r := &keyRules{cookies: slices.Sorted(slices.Values(k.Cookies))}
	for _, name := range k.Headers {
		r.headers = append(r.headers, http.CanonicalHeaderKey(name))
	}
	slices.Sort(r.headers)
	if q := k.Query; q != nil {
		r.ignore, r.sort = q.Ignore, q.Sort
		r.keep, r.drop = newParameterSet(q.Keep), newParameterSet(q.Drop)
	}
	r.narrows = r.ignore || r.sort || !r.keep.empty() || !r.drop.empty()
	if !r.narrows && len(r.headers)+len(r.cookies) == 0 {
		return nil
	}
	r.text = r.form()
	return r
}

// form is the rules in one form of all that say the same.
func (r *keyRules) form() string {
	s := r.keep.form("keep") + r.drop.form("drop")
	if r.ignore {
		s += "ignore;"
	}
	if r.sort {
		s += "sort;"
	}
	if len(r.headers) > 0 {
		s += "headers=" + strings.Join(r.headers, ",") + ";"
	}
	if len(r.cookies) > 0 {
		s += "cookies=" + strings.Join(r.cookies, ",") + ";"
	}
	return s
}

// applied is the key of a URL as these rules have it, without what fields add to it.
func (r *keyRules) applied(k Key) Key {
	if r == nil {
		return k
	}
	k.Rules = r.text
	if r.narrows {
		k.Query = r.query(k.Query)
		k.HasQuery = k.Query != ""
	}
	return k
}

// query is what matters of a query, as it came: escapes and the order of equal
// names stay, so that it can be sent on. Names are compared as forms encode them.
// A semicolon divides nothing: what stands behind it is kept or dropped with what it follows.
func (r *keyRules) query(query string) string {
	if r.ignore || query == "" {
		return ""
	}
	type parameter struct{ name, text string }
	var kept []parameter
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		name = decoded(name)
		if part != "" && !r.drop.has(name) && (r.keep.empty() || r.keep.has(name)) {
			kept = append(kept, parameter{name, part})
		}
	}
	if r.sort {
		slices.SortStableFunc(kept, func(a, b parameter) int { return strings.Compare(a.name, b.name) })
	}
	parts := make([]string, len(kept))
	for i, p := range kept {
		parts[i] = p.text
	}
	return strings.Join(parts, "&")
}

// narrowed is a request without what does not matter of its query. What the
// origin does not see cannot get into an answer that others are given.
func (r *keyRules) narrowed(req *http.Request) *http.Request {
	if r == nil || !r.narrows {
		return req
	}
	query := r.query(req.URL.RawQuery)
	if query == req.URL.RawQuery && !req.URL.ForceQuery {
		return req
	}
	out := req.WithContext(req.Context())
	u := *req.URL
	u.RawQuery, u.ForceQuery = query, false
	out.URL = &u
	return out
}

// fields is what the header adds to the key: the values of the fields and
// cookies that are named, each with its length, so that no two headers that
// differ in them have the same.
func (r *keyRules) fields(h http.Header) string {
	if r == nil || len(r.headers)+len(r.cookies) == 0 {
		return ""
	}
	var b []byte
	add := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	for _, name := range r.headers {
		value, present := selecting(name, h[name])
		if !present {
			b = append(b, '-')
			continue
		}
		b = append(b, '+')
		add(value)
	}
	for _, name := range r.cookies {
		// All of that name: applications do not agree which one counts.
		for n, value := range cookies(h["Cookie"]) {
			if n == name {
				b = append(b, '+')
				add(value)
			}
		}
		b = append(b, '-')
	}
	return string(b)
}

// has says whether a field is in the key.
func (r *keyRules) has(name string) bool { return r != nil && slices.Contains(r.headers, name) }

// coversCookies says whether every cookie of the header is one that tells answers apart.
func (r *keyRules) coversCookies(h http.Header) bool {
	if r == nil {
		return len(h["Cookie"]) == 0
	}
	for name := range cookies(h["Cookie"]) {
		if _, found := slices.BinarySearch(r.cookies, name); !found {
			return false
		}
	}
	return true
}

// onlyCookies leaves in a header the cookies that are in the key.
func (r *keyRules) onlyCookies(h http.Header) {
	var kept []string
	if r != nil {
		for name, value := range cookies(h["Cookie"]) {
			if _, found := slices.BinarySearch(r.cookies, name); found {
				kept = append(kept, name+"="+value)
			}
		}
	}
	if delete(h, "Cookie"); len(kept) > 0 {
		h["Cookie"] = []string{strings.Join(kept, "; ")}
	}
}

// cookies walks through the cookies of a request (RFC 6265, section 4.2). What
// has no equals sign is a cookie without a name.
func cookies(lines []string) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for _, line := range lines {
			for pair := range strings.SplitSeq(line, ";") {
				if pair = textproto.TrimString(pair); pair == "" {
					continue
				}
				name, value, ok := strings.Cut(pair, "=")
				if !ok {
					name, value = "", pair
				}
				if !yield(textproto.TrimString(name), textproto.TrimString(value)) {
					return
				}
			}
		}
	}
}
