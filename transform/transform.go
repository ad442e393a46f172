// Package transform changes answers on their way out: it compresses them, and
// takes a coding away that a client cannot read (RFC 9110, sections 8.4 and 12.5.3).
//
// Look at [Filter] first, then at [Compress] and [Decompress], the two there
// are. [Chain] runs filters over an answer on its way to a client. What a client
// can read is told by [ParseAccept], and memory for all of it is lent by [Memory].
//
// It promises that what is read from a changed body decodes to exactly the bytes
// that came, or ends in an error; that bytes leave a stream as soon as they are
// there; that a changed answer has no validator, length, range or digest left
// that speaks of other bytes; and that it stays within its memory: beyond it,
// answers go out as they are.
//
// It refuses to touch answers with no-transform, with a signature, with a
// status whose body is not a representation, and parts of a whole. It knows nothing of the cache: a
// stored filter is run by whoever stores.
package transform

import (
	"net/http"
	"strings"
)

// Mode says when a filter runs.
type Mode int

const (
	// Delivered filters run each time, for one client, after the cache.
	Delivered Mode = iota
	// Stored filters run once for each variant, before the answer is stored;
	// the variant is then part of its key.
	Stored
)

// Filter changes answers. It is made with its revision, never changes, and is
// safe for concurrent use. Its methods have no types of this package where
// somebody who stores has to call them.
type Filter interface {
	// Mode says who runs it.
	Mode() Mode
	// Effects are what it does to the head of an answer that it changes.
	Effects() Effects
	// Variant is what a request asks of the filter: one of a small set of
	// words. Requests with the same variant get the same bytes.
	Variant(request http.Header) string
	// Apply changes an answer for a variant: its head at once, and its body
	// while it is read. res.Request tells a HEAD: its answer gets the head that GET's
	// would. It returns "" or why the answer is as it was, one of the Why…
	// constants. If a choice was made Vary says so, also where the answer stays as it was.
	Apply(variant string, res *http.Response) (why string)
}

// Why an answer stays as it was.
const (
	WhyNoTransform = "no-transform" // RFC 9111, section 5.2.2.6
	WhySigned      = "signed"       // somebody vouches for these very bytes (RFC 9421)
	WhyStatus      = "status"       // the body is none, or a part, or a difference
	WhyPartial     = "partial"      // Content-Range
	WhyCoding      = "coding"       // it has a coding already, or one that we cannot read
	WhyType        = "type"         // its type is not on the list
	WhySmall       = "small"        // compressing would gain nothing
	WhyUnwanted    = "unwanted"     // the client does not want or need it
	WhyMemory      = "memory"       // the memory for coders is lent out
	WhyWindow      = "window"       // it would take more memory to read than is allowed
	WhyBroken      = "broken"       // the body does not begin as its coding must
)

// Chain is the delivered filters of a route, in their order.
type Chain []Filter

// Ask prepares the header of a client's request, before the cache and the origin see it.
func (c Chain) Ask(request http.Header) {
	for _, f := range c {
		f.Effects().ask(request)
	}
}

// Deliver runs the filters over an answer for a client. A 304 gets the
// validator under which the client knows what it has.
func (c Chain) Deliver(request http.Header, res *http.Response) {
	for _, f := range c {
		if res.StatusCode == http.StatusNotModified {
			f.Effects().notModified(request, res.Header)
			continue
		}
		f.Apply(f.Variant(request), res)
	}
}

// untouchable says why no filter may change an answer, whatever it does.
func untouchable(res *http.Response) string {
	switch s := res.StatusCode; {
	case s < 200, s == http.StatusNoContent, s == http.StatusResetContent, s == http.StatusPartialContent,
		s == http.StatusNotModified, s == http.StatusIMUsed:
		return WhyStatus
	}
	h := res.Header
	switch {
	case len(h["Content-Range"]) > 0:
		return WhyPartial
	case forbidsTransform(h):
		return WhyNoTransform
	case len(h["Signature-Input"]) > 0:
		return WhySigned
	}
	return ""
}

// forbidsTransform looks for the directive in any form: what may be meant so is
// taken so, also in a field that does not parse.
func forbidsTransform(h http.Header) bool {
	for _, line := range h["Cache-Control"] {
		if strings.Contains(strings.ToLower(line), "no-transform") {
			return true
		}
	}
	return false
}

// isHead says whether the answer has no body because nobody asked for one.
func isHead(res *http.Response) bool {
	return res.Request != nil && res.Request.Method == http.MethodHead
}
