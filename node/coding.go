package node

import (
	"io"
	"net/http"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/transform"
)

// coding is what a route does to the codings of its answers: its zero value nothing.
type coding struct {
	delivered transform.Chain     // each time, after the cache
	stored    *transform.Compress // once, by the cache
}

// newCoding compiles a route's compression.
func (reg *registry) newCoding(c *selvage.Compress) (coding, error) {
	if c == nil {
		return coding{}, nil
	}
	o := transform.CompressOptions{Types: c.Types, MinSize: c.MinSize}
	for _, name := range c.Codings {
		o.Codings = append(o.Codings, transform.Coding(name))
	}
	stored, err := transform.NewCompress(transform.Stored, reg.coders, o)
	if err != nil {
		return coding{}, err
	}
	delivered, err := transform.NewCompress(transform.Delivered, reg.coders, o)
	if err != nil {
		return coding{}, err
	}
	decompress := transform.NewDecompress(reg.coders, transform.DecompressOptions{})
	return coding{transform.Chain{decompress, delivered}, stored}, nil
}

// deliver changes the coding of an answer to what the client reads, where the
// route compresses.
func (x *exchange) deliver(resp *http.Response) {
	chain := x.route.coding.delivered
	if chain == nil || x.rec.Answer.Coding != "" { // or the cache has seen to it
		return
	}
	if x.rec.Cache.Incompressible {
		chain = chain[:1]
	}
	resp.Request = x.r // its method tells an answer without a body
	before := len(resp.Header["Content-Encoding"])
	plain := resp.Body
	if plain != http.NoBody {
		resp.Body = &uncoded{ReadCloser: plain, answer: &x.rec.Answer}
	}
	chain.Deliver(x.r.Header, resp)
	if after := resp.Header["Content-Encoding"]; len(after) > 0 && before == 0 {
		x.rec.Answer.Coding = after[0]
	} else if _, same := resp.Body.(*uncoded); same {
		resp.Body = plain
	}
}

// uncoded is a body on its way into a coding. It is read by the request's own goroutine.
type uncoded struct {
	io.ReadCloser
	answer *record.Answer
}

// Read implements io.Reader.
func (u *uncoded) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	u.answer.UncodedBytes += int64(n)
	return n, err
}

// Buffered says whether Read waits for nobody until the end of the body.
func (u *uncoded) Buffered() bool {
	b, ok := u.ReadCloser.(interface{ Buffered() bool })
	return ok && b.Buffered()
}
