package cache

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dunglas/httpsfv"
)

const noVarySearch = "No-Vary-Search"

// searchPlaces is how many paths' variances are remembered; the oldest go first.
const searchPlaces = 4096

// variance says which parts of a query an answer does not depend on
// (draft-ietf-httpbis-no-vary-search). A nil one says that it depends on all.
type variance struct {
	anyOrder bool     // of parameters with different names
	ignored  []string // the names that do not matter, sorted
	others   bool     // the names above are the ones that do
	text     string   // the same in one form, which is part of keys
}

// readNoVarySearch reads the field of an answer. What does not parse means that
// everything matters.
func readNoVarySearch(lines []string) *variance {
	if len(lines) == 0 {
		return nil
	}
	members, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return nil
	}
	v := &variance{}
	if member, ok := members.Get("key-order"); ok {
		if v.anyOrder, ok = boolean(member); !ok {
			return nil
		}
	}
	if member, ok := members.Get("params"); ok {
		if all, is := boolean(member); is {
			v.others = all
		} else if v.ignored, is = names(member); !is {
			return nil
		}
	}
	if member, ok := members.Get("except"); ok {
		if v.ignored, ok = names(member); !ok || !v.others {
			return nil
		}
	}
	if !v.anyOrder && !v.others && len(v.ignored) == 0 {
		return nil
	}
	v.text = v.form()
	return v
}

// form is the variance in one form of all that say the same.
func (v *variance) form() string {
	var form strings.Builder
	if v.anyOrder {
		form.WriteByte('o')
	}
	if v.others {
		form.WriteByte('x')
	}
	for _, name := range v.ignored {
		form.WriteString("&" + url.QueryEscape(name))
	}
	return form.String()
}

func boolean(m httpsfv.Member) (value, ok bool) {
	item, _ := m.(httpsfv.Item)
	value, ok = item.Value.(bool)
	return value, ok
}

// names reads an inner list of strings, each of which is a name as it stands in a query.
func names(m httpsfv.Member) (out []string, ok bool) {
	list, ok := m.(httpsfv.InnerList)
	if !ok {
		return nil, false
	}
	for _, item := range list.Items {
		s, ok := item.Value.(string)
		if !ok {
			return nil, false
		}
		out = append(out, strings.Clone(decoded(s)))
	}
	slices.Sort(out)
	return slices.Compact(out), true
}

// canonical is the part of a query that matters, in one form.
func (v *variance) canonical(query string) string {
	type parameter struct{ name, value string }
	var kept []parameter
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name = decoded(name)
		if _, found := slices.BinarySearch(v.ignored, name); found == v.others {
			kept = append(kept, parameter{name, decoded(value)})
		}
	}
	if v.anyOrder {
		slices.SortStableFunc(kept, func(a, b parameter) int { return strings.Compare(a.name, b.name) })
	}
	var b strings.Builder
	for _, p := range kept {
		b.WriteString("&" + url.QueryEscape(p.name) + "=" + url.QueryEscape(p.value))
	}
	return b.String()
}

// decoded is a name or value of a query as forms encode it. What is no escape stays as it is.
func decoded(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			c = ' '
		} else if c == '%' && i+2 < len(s) {
			if hi, lo := digit(s[i+1]), digit(s[i+2]); hi >= 0 && lo >= 0 {
				c = byte(hi<<4 | lo)
				i += 2
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// digit is the value of a hexadecimal digit, -1 if it is none.
func digit(c byte) int {
	if c >= 'A' && c <= 'F' {
		c += 'a' - 'A'
	}
	return strings.IndexByte("0123456789abcdef", c)
}

// applied is the key with what matters of its query. The variance is in it, so
// that keys by different ones never meet, and a zero byte, which no URL has.
func (v *variance) applied(k Key) Key {
	if v != nil {
		k.Query, k.HasQuery = "\x00"+v.text+"\x00"+v.canonical(k.Query), false
	}
	return k
}

// variedBy is the form of the variance that was applied to the key, empty for none.
func (k *Key) variedBy() string {
	if !strings.HasPrefix(k.Query, "\x00") {
		return ""
	}
	form, _, _ := strings.Cut(k.Query[1:], "\x00")
	return form
}

// variances is how many forms of a variance one path may have had; a further one is
// taken for none.
const variances = 8

// learned is by what the answers of a path vary, and by what they did before.
type learned struct {
	now  *variance // nil if by all
	ever []*variance
}

// with is what is known once an answer said v. It is not ok where v cannot be noted.
func (l learned) with(v *variance) (learned, bool) {
	if v != nil && !slices.ContainsFunc(l.ever, func(old *variance) bool { return old.text == v.text }) {
		if len(l.ever) == variances {
			return learned{nil, l.ever}, false
		}
		l.ever = append(slices.Clip(l.ever), v)
	}
	l.now = v
	return l, true
}

// searches remembers by what the answers of a path vary.
type searches struct {
	count atomic.Int32 // spares requests the look where nobody uses it

	mu     sync.RWMutex // guards all below
	byPath map[Key]learned
	ring   []Key
	next   int
}

// path is the key without its query, fields and content.
func (k Key) path() Key {
	k.Query, k.HasQuery, k.Fields, k.Content = "", false, "", ""
	return k
}

// keyed is the key by which an answer to a request is looked up.
func (s *searches) keyed(exact Key) Key {
	if s.count.Load() == 0 {
		return exact
	}
	s.mu.RLock()
	l := s.byPath[exact.path()]
	s.mu.RUnlock()
	return l.now.applied(exact)
}

// variedKeys are the further keys by which answers to a request were ever stored:
// what a path varied by once it may vary by again.
func (s *searches) variedKeys(exact Key) (keys []Key) {
	if s.count.Load() == 0 {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.byPath[exact.path()].ever {
		keys = append(keys, v.applied(exact))
	}
	return keys
}

// learn notes by what the answers of a path vary from now on. It is not ok where
// that cannot be remembered.
func (s *searches) learn(exact Key, v *variance) (ok bool) {
	if v == nil && s.count.Load() == 0 {
		return true
	}
	path := exact.path().clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.byPath[path]
	l, ok := old.with(v)
	switch {
	case !known && v == nil:
		return true
	case known:
		s.byPath[path] = l // one that has none any more keeps its place
		return ok
	case s.byPath == nil:
		s.byPath = make(map[Key]learned)
	}
	if len(s.ring) < searchPlaces {
		s.ring = append(s.ring, path)
	} else {
		delete(s.byPath, s.ring[s.next])
		s.ring[s.next] = path
		s.next = (s.next + 1) % searchPlaces
	}
	s.byPath[path] = l
	s.count.Store(int32(len(s.byPath)))
	return ok
}

// placeFor is where an answer is stored, and whether it may be: one that varies
// by something else than its flight was keyed by is given to its leader alone,
// since those who wait may have asked with another query. Answers of 2xx teach.
func (f *flight) placeFor(status int, h http.Header) (place Key, ok bool) {
	v := readNoVarySearch(h[noVarySearch])
	form := ""
	if v != nil {
		form = v.text
	}
	if status >= 200 && status < 300 {
		ok = f.transport.store.searches.learn(f.exact, v)
	} else {
		ok = v == nil || f.key.variedBy() == form // what teaches nothing is not looked for where it lies
	}
	keyed := f.key.variedBy()
	return v.applied(f.exact), ok && (keyed == form || keyed == "")
}
