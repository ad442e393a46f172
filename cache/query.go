package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/http"
)

// methodQuery is safe as GET is, and asks with a body
// (draft-ietf-httpbis-safe-method-w-body).
const methodQuery = "QUERY"

// maxQuery is how long the body of a QUERY may be that the cache keeps in memory
// to tell it from others, in bytes. A longer one bypasses it.
const maxQuery = 64 << 10

// readContent reads the request's body and puts it into the key. It is not whole
// where it is too long, or has trailers; then the request goes on with all of it.
func (q *inquiry) readContent() (whole bool, err error) {
	req := q.req
	if req.ContentLength > maxQuery || len(req.Trailer) > 0 {
		return false, nil
	}
	content := []byte{}
	if req.Body != nil {
		if content, err = io.ReadAll(io.LimitReader(req.Body, maxQuery+1)); err != nil {
			return false, err
		}
	}
	q.req = req.WithContext(req.Context())
	if len(content) > maxQuery {
		q.req.Body = rest{io.MultiReader(bytes.NewReader(content), req.Body), req.Body}
		return false, nil
	}
	if req.Body != nil {
		req.Body.Close()
	}
	q.content, q.exact.Content = content, digest(content, req.Header)
	withContent(q.req, content)
	return true, nil
}

// rest is a body of which a part was read.
type rest struct {
	io.Reader
	io.Closer
}

// withContent gives a request, which must be the caller's own, a body that can be sent again.
func withContent(req *http.Request, content []byte) {
	req.ContentLength, req.TransferEncoding = int64(len(content)), nil
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	req.Body, _ = req.GetBody()
}

// digest tells the content of one QUERY from all others, with the fields that say what it means.
func digest(content []byte, h http.Header) string {
	sum := sha256.New()
	part := func(p []byte) {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		sum.Write(p)
	}
	for _, name := range [...]string{"Content-Type", "Content-Encoding", "Content-Language"} {
		part(binary.BigEndian.AppendUint64(nil, uint64(len(h[name]))))
		for _, line := range h[name] {
			part([]byte(line))
		}
	}
	part(content)
	return string(sum.Sum(nil))
}

// addQueryLocked notes a key with more than a URL under it, so that what makes the
// URL invalid finds it.
func (s *Store) addQueryLocked(key Key) {
	url := key.url()
	if url == key {
		return
	}
	if s.queries == nil {
		s.queries = make(map[Key]map[Key]struct{})
	}
	if s.queries[url] == nil {
		s.queries[url] = make(map[Key]struct{}, 1)
	}
	s.queries[url][key] = struct{}{}
}

func (s *Store) removeQueryLocked(key Key) {
	url := key.url()
	if url == key {
		return
	}
	delete(s.queries[url], key)
	if len(s.queries[url]) == 0 {
		delete(s.queries, url)
	}
}
