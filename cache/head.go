package cache

import (
	"net/http"
	"strconv"
	"time"
)

// learnFromHead takes from the answer to a HEAD what it tells of the stored
// answer to GET (RFC 9111, section 4.3.5): the same one goes on with the new
// fields, another one makes it stale. Only requests without credentials teach:
// what an application says to one user is not said of what is stored for all.
func (t *Transport) learnFromHead(q *inquiry, res *http.Response) {
	old := q.found.answer
	if q.req.Method != http.MethodHead || res.StatusCode != http.StatusOK || old == nil || old.status != http.StatusOK || q.traits != (traits{}) {
		return
	}
	received := time.Now()
	if !describes(res.Header, old) {
		gone := *old
		gone.terms.lifetime = min(gone.terms.lifetime, gone.terms.age(received))
		t.store.replace(q.key, old, &gone)
		return
	}
	surrogate := res.Header[surrogateControl]
	if len(surrogate) == 0 {
		surrogate = old.surrogate
	}
	fields := storedHeader(res.Header, received)
	tags, ok := tagsOf(fields, t.tags)
	if ok && len(tags) == 0 {
		tags = old.tags
	}
	t.takeOurs(fields)
	x := exchange{status: old.status, header: updated(old.header, fields), length: old.length, surrogate: surrogate, tags: tags, manyTags: !ok}
	x.position = old.position // the body was asked for then: a HEAD takes back no purge
	a, why := t.newAnswer(q.req.Header, &x, res.Header, q.now, received)
	v := readNoVarySearch(x.header[noVarySearch])
	a.body, a.length, a.forms, a.search = old.body, old.length, old.forms, v
	if why != storeIt || v.applied(q.exact) != q.key {
		t.store.remove(q.key, old)
		return
	}
	t.store.replace(q.key, old, a)
}

// describes says whether the fields of an answer to HEAD fit a stored answer:
// whichever of the validators and the length it has is the same.
func describes(h http.Header, stored *answer) bool {
	for _, name := range [...]string{"Etag", "Last-Modified"} {
		if lines := h[name]; len(lines) > 0 && (len(stored.header[name]) == 0 || lines[0] != stored.header[name][0]) {
			return false
		}
	}
	length := h["Content-Length"]
	return len(length) == 0 || length[0] == strconv.FormatInt(stored.length, 10)
}
