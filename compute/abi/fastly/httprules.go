package fastly

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// keptByStored are the fields that a 304 does not change, because they tell of
// the stored body (RFC 9111, section 3.2) or of the connection.
var keptByStored = map[string]bool{
	"content-encoding": true, "content-length": true, "content-range": true, "content-type": true,
	"connection": true, "keep-alive": true, "proxy-connection": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
}

// storedFields are the fields of an answer that are stored (RFC 9111, section 3.1).
func storedFields(h *header) header {
	out := h.clone()
	out.removeHops()
	for _, name := range []string{"proxy-authenticate", "proxy-authentication-info", "proxy-authorization", "te", "trailer", "transfer-encoding"} {
		out.remove(name)
	}
	return out
}

// directives are the directives of a field such as Cache-Control, in lower case.
func directives(h *header, name string) map[string]string {
	out := map[string]string{}
	for _, list := range h.values(name) {
		for d := range strings.SplitSeq(list, ",") {
			key, value, _ := strings.Cut(strings.TrimSpace(d), "=")
			if key != "" {
				out[strings.ToLower(key)] = strings.Trim(value, `" `)
			}
		}
	}
	return out
}

// seconds of a directive; false if there is none, or no number.
func secondsOf(d map[string]string, name string) (time.Duration, bool) {
	v, ok := d[name]
	n, err := strconv.ParseUint(v, 10, 31)
	if !ok || err != nil {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}

// suggest is what an answer asks for by its fields, and what to do with it.
// Without an explicit lifetime it is stored with one that is guessed, often none, if its status
// lets it: what an origin does not say, a program may, with an override or in its hook.
func suggest(t *transaction, r *response) (meta, int) {
	cc, sc := directives(&r.header, "cache-control"), directives(&r.header, "surrogate-control")
	m := meta{length: -1}
	explicit := lifetime(r, cc, sc, &m)
	if _, noCache := cc["no-cache"]; !explicit && !noCache {
		m.maxAge = guessedLifetime(r, time.Now())
	}
	if age, err := strconv.ParseUint(first(&r.header, "age"), 10, 31); err == nil {
		m.initialAge = time.Duration(age) * time.Second
	}
	for _, list := range r.header.values("vary") {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
				m.vary = append(m.vary, name)
			}
		}
	}
	m.keys = append(m.keys, urlKey(t.http.uri()))
	for _, keys := range r.header.values("surrogate-key") {
		m.keys = append(m.keys, strings.Fields(keys)...)
	}
	if n, err := strconv.ParseUint(first(&r.header, "content-length"), 10, 62); err == nil {
		m.length = int64(n)
	}
	return m, actionFor(t, r, cc, explicit)
}

func first(h *header, name string) string {
	v, _ := h.get(name)
	return v
}

// lifetime fills in how long an answer is fresh and how long it may be used
// stale: what is said to surrogates counts before what is said to caches, and
// that before Expires (RFC 9111, section 4.2.1). false: it is not said.
func lifetime(r *response, cc, sc map[string]string, m *meta) bool {
	for _, d := range []map[string]string{sc, cc} {
		if s, ok := secondsOf(d, "stale-while-revalidate"); ok && m.staleWhileRevalidate == 0 {
			m.staleWhileRevalidate = s
		}
		if s, ok := secondsOf(d, "stale-if-error"); ok && m.staleIfError == 0 {
			m.staleIfError = s
		}
	}
	var ok bool
	if m.maxAge, ok = secondsOf(sc, "max-age"); ok {
		return true
	}
	if m.maxAge, ok = secondsOf(cc, "s-maxage"); ok {
		return true
	}
	if m.maxAge, ok = secondsOf(cc, "max-age"); ok {
		return true
	}
	text, there := r.header.get("expires")
	if !there {
		return false
	}
	expires, err := http.ParseTime(text)
	if err != nil {
		return true // which means: in the past (RFC 9111, section 5.3)
	}
	date, err := http.ParseTime(first(&r.header, "date"))
	if err != nil {
		date = time.Now()
	}
	m.maxAge = max(expires.Sub(date), 0)
	return true
}

// The lifetime that is guessed from Last-Modified, as the cache of the edge does.
const (
	guessedPart = 10 // one of so many parts of the time that it has not changed
	guessedMost = time.Hour
)

// guessedLifetime is how long an answer that does not say it is taken to be fresh
// (RFC 9111, section 4.2.2). Without a Last-Modified it is 0.
func guessedLifetime(r *response, now time.Time) time.Duration {
	modified, err := http.ParseTime(first(&r.header, "last-modified"))
	if err != nil || !storedByStatus(r.status) {
		return 0
	}
	date, err := http.ParseTime(first(&r.header, "date"))
	if err != nil {
		date = now
	}
	return min(max(0, date.Sub(modified))/guessedPart, guessedMost)
}

// actionFor is what to do with an answer (RFC 9111, section 3).
func actionFor(t *transaction, r *response, cc map[string]string, explicit bool) int {
	_, noStore := cc["no-store"]
	_, private := cc["private"]
	_, public := cc["public"]
	_, shared := cc["s-maxage"]
	_, cookie := r.header.get("set-cookie")
	_, authorized := t.request.get("authorization")
	switch {
	case noStore, private, cookie:
		return actionUncacheable
	case authorized && !public && !shared:
		return actionUncacheable
	case r.status < 200, r.status == http.StatusPartialContent, r.status == http.StatusNotModified:
		return actionDoNotStore
	case !explicit && !storedByStatus(r.status):
		return actionDoNotStore
	case strings.Contains(first(&r.header, "vary"), "*"):
		return actionDoNotStore
	}
	return actionInsert
}

// storedByStatus says whether programs find an answer of a status storable that
// says nothing itself, as Fastly has it: fewer than RFC 9110, section 15.1 allows.
func storedByStatus(status int) bool {
	switch status {
	case http.StatusOK, http.StatusNonAuthoritativeInfo, http.StatusMultipleChoices, http.StatusMovedPermanently, http.StatusFound,
		http.StatusNotFound, http.StatusGone:
		return true
	}
	return false
}

// notModified says whether a client has the answer (RFC 9110, section 13.1).
func notModified(q *request, r *response) bool {
	if q.method != http.MethodGet && q.method != http.MethodHead {
		return false
	}
	if tags, ok := q.header().get("if-none-match"); ok {
		tag := strings.TrimPrefix(first(&r.header, "etag"), "W/")
		for t := range strings.SplitSeq(tags, ",") {
			t = strings.TrimSpace(t)
			if t == "*" || tag != "" && strings.TrimPrefix(t, "W/") == tag {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(first(q.header(), "if-modified-since"))
	if err != nil {
		return false
	}
	modified, err := http.ParseTime(first(&r.header, "last-modified"))
	return err == nil && !modified.After(since)
}

// singleRange is the part that a request asks for, both bytes in it; the first
// is negative if there are no such bytes. false: the whole is to be sent, also
// for several parts at once (RFC 9110, section 14.2).
func singleRange(q *request, r *response, length int64) (from, to int64, ok bool) {
	spec, is := strings.CutPrefix(first(q.header(), "range"), "bytes=")
	if !is || length < 0 || q.method != http.MethodGet || strings.Contains(spec, ",") {
		return 0, 0, false
	}
	if condition, there := q.header().get("if-range"); there {
		tag := first(&r.header, "etag")
		if condition != first(&r.header, "last-modified") && (condition != tag || strings.HasPrefix(tag, "W/")) {
			return 0, 0, false
		}
	}
	a, b, dash := strings.Cut(strings.TrimSpace(spec), "-")
	n, errA := strconv.ParseUint(a, 10, 62)
	m, errB := strconv.ParseUint(b, 10, 62)
	switch {
	case !dash, a != "" && errA != nil, b != "" && errB != nil, a == "" && b == "":
		return 0, 0, false
	case a == "" && m == 0, a != "" && int64(n) >= length:
		return -1, 0, true
	case a == "":
		return max(length-int64(m), 0), length - 1, length > 0
	case b == "":
		return int64(n), length - 1, true
	case m < n:
		return 0, 0, false
	}
	return int64(n), min(int64(m), length-1), true
}
