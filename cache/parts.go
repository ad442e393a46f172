package cache

import (
	"crypto/rand"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// severalBody is the body of a 206 with several parts.
type severalBody struct {
	io.Reader
	io.Closer // that of the stored body, whose end is this one's too
}

// WriteTo implements io.WriterTo: the parts are written where they are.
func (b severalBody) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, b.Reader) }

// severalOf makes a body of several parts (RFC 9110, section 14.6), and sets the
// fields of its answer. The boundary is random: nobody can put it into a stored body.
func severalOf(res *http.Response, parts []span, a *answer, open func(span) io.Reader) io.Reader {
	boundary := rand.Text()
	kind := ""
	if lines := a.header["Content-Type"]; len(lines) > 0 {
		kind = "Content-Type: " + lines[0] + "\r\n"
	}
	readers := make([]io.Reader, 0, 2*len(parts)+1)
	length := int64(0)
	text := func(s string) {
		readers = append(readers, strings.NewReader(s))
		length += int64(len(s))
	}
	for i, p := range parts {
		start := "--"
		if i > 0 {
			start = "\r\n--"
		}
		text(start + boundary + "\r\n" + kind + "Content-Range: " + contentRange(p, a.length) + "\r\n\r\n")
		readers = append(readers, open(p))
		length += p.length
	}
	text("\r\n--" + boundary + "--\r\n")
	res.ContentLength = length
	setPartsHeader(res.Header, boundary, length)
	return io.MultiReader(readers...)
}

func setPartsHeader(h http.Header, boundary string, length int64) {
	h["Content-Type"] = []string{"multipart/byteranges; boundary=" + boundary}
	h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
}
