package http1

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"

	"github.com/selvage-edge/selvage"
)

// answer is one request on its way, and its answer. It is the answer's Body
// too, so that both are one allocation.
type answer struct {
	t    *Transport
	req  *http.Request // resp.Request is the caller's to change
	resp http.Response

	// How the request is sent.
	length   int64  // of its body: 0 for none, -1 where only its end tells
	composed bool   // its body was written with the head
	expects  bool   // its body waits for 100
	upgrade  string // the protocols that it asks for

	// How the answer is read.
	in       input
	body     bodyReader
	reusable bool // both sides keep the connection, and the answer says where it ends
	began    bool // a byte of it came

	reading sync.Mutex // held while the body is read
	err     error      // what every further read of the body returns; guarded by reading

	mu      sync.Mutex // guards what is below: the request's body is sent beside the answer
	conn    *originConn
	stop    func() bool // stops watching the context
	closed  bool        // Close was called
	headIn  bool        // the head of the final answer is there
	sending sendState
	upload  *upload // nil unless the request's body is sent beside the answer
}

// readHeads reads heads as far as the one of the final answer.
func (a *answer) readHeads(h *Head) error {
	for n := 0; ; n++ {
		if err := a.readHead(h); err != nil {
			return err
		}
		switch {
		case h.status >= 200:
			return nil
		case h.status == http.StatusSwitchingProtocols:
			return a.checkUpgrade(h)
		case n == maxInterim:
			a.t.limitHit("origin_interim")
			return refuse("too many interim answers")
		}
		if err := a.interim(h); err != nil {
			return err
		}
	}
}

// readHead reads one head and leaves it in the input.
func (a *answer) readHead(h *Head) error {
	h.reset(answerHead)
	limits := a.t.headLimits()
	for {
		if b := a.in.bytes(); len(b) > 0 {
			a.began = true
			if done, err := h.parse(b, limits); done || err != nil {
				return err
			}
		}
		if _, err := a.in.fill(limits.head + 1); err != nil {
			return err
		}
	}
}

// interim passes an answer 1xx to who wants it.
func (a *answer) interim(h *Head) error {
	if _, err := h.answerFraming(""); err != nil {
		return err
	}
	code := h.status
	if code == http.StatusContinue {
		a.mayContinue()
	}
	trace := httptrace.ContextClientTrace(a.req.Context())
	var header http.Header
	if trace != nil && trace.Got1xxResponse != nil {
		header = h.Header()
	}
	a.in.discard(h.size)
	if trace == nil {
		return nil
	}
	if code == http.StatusContinue && trace.Got100Continue != nil {
		trace.Got100Continue()
	}
	if trace.Got1xxResponse == nil {
		return nil
	}
	if err := trace.Got1xxResponse(code, textproto.MIMEHeader(header)); err != nil {
		return answerError(selvage.ProxyInternalError, fmt.Errorf("pass on the interim answer %d: %w", code, err))
	}
	return nil
}

// finishHead makes the response of the head and prepares its body.
//
// RFC 9112, section 6.3, lets a recipient mend what an origin says twice or
// wrongly; [Head.answerFraming] refuses all of that, with 502 for the client.
func (a *answer) finishHead(h *Head) error {
	req := a.req
	f, err := h.answerFraming(req.Method)
	if err != nil {
		return err
	}
	drop := setOf(NameTransferEncoding, NameTrailer)
	if h.Has(NameTransferEncoding) {
		a.resp.TransferEncoding = []string{"chunked"}
	}
	if f.kind == chunked {
		a.resp.Trailer = announcedTrailers(h)
	}
	if h.status < 200 || h.status == http.StatusNoContent {
		drop |= setOf(NameContentLength) // it must not be there (RFC 9110, section 8.6), and is 0 here
	}
	a.resp.StatusCode = h.status
	a.resp.Status = statusText(h)
	a.resp.Proto, a.resp.ProtoMajor, a.resp.ProtoMinor = "HTTP/1.1", 1, int(h.minor)
	if h.minor == 0 {
		a.resp.Proto = "HTTP/1.0"
	}
	a.resp.ContentLength = f.length
	if f.kind == noBody {
		a.resp.ContentLength = bodylessLength(f, h, req.Method)
	}
	a.resp.Close = !keepsOpen(h) || f.kind == untilClose
	a.reusable = !a.resp.Close && !req.Close
	h.canonicalNames()
	a.resp.Header = h.header(string(h.buf[:h.size]), drop)
	a.in.discard(h.size)
	if h.status == http.StatusSwitchingProtocols {
		return a.switchProtocol()
	}
	a.noteHead()
	a.startBody(f)
	return nil
}

// bodylessLength is Response.ContentLength of an answer without a body: what a
// HEAD announces, and 0 for the others, as net/http has it.
func bodylessLength(f framing, h *Head, method string) int64 {
	if method == http.MethodHead && h.status >= 200 && h.status != http.StatusNoContent {
		return f.length
	}
	return 0
}

// keepsOpen says whether the origin keeps the connection. HTTP/1.0 could ask
// for that with an extension that proxies have always misread, so it is not
// believed. A Connection field that is no list is one that we do not understand.
func keepsOpen(h *Head) bool {
	if h.minor == 0 {
		return false
	}
	if !h.Has(NameConnection) {
		return true
	}
	var few [4][]byte
	for i := range h.list {
		if h.list[i].id != NameConnection {
			continue
		}
		options, ok := tokenList(few[:0], h.at(h.list[i].value))
		if !ok {
			return false
		}
		for _, o := range options {
			if equalFold(o, "close") {
				return false
			}
		}
	}
	return true
}

// announcedTrailers are the keys that the Trailer field names, without values.
func announcedTrailers(h *Head) http.Header {
	if !h.Has(NameTrailer) {
		return nil
	}
	m := make(http.Header)
	for i := range h.list {
		if h.list[i].id != NameTrailer {
			continue
		}
		keys, _ := tokenList(nil, h.at(h.list[i].value))
		for _, k := range keys {
			if id := lookUpName(k); id == NameOther || !neverTrailer.has(id) {
				m[http.CanonicalHeaderKey(string(k))] = nil
			}
		}
	}
	return m
}

// statusText is Response.Status.
func statusText(h *Head) string {
	if s := usualStatus[h.status]; len(s) > 4 && string(h.at(h.reason)) == s[4:] {
		return s
	}
	line := h.buf[h.reason.from-4 : h.reason.to]
	if h.reason.from == h.reason.to { // the space may be missing
		return fmt.Sprintf("%d ", h.status)
	}
	return string(line)
}

// usualStatus are the statuses with the reasons that nearly everybody sends.
var usualStatus = newUsualStatus()

func newUsualStatus() (t [600]string) {
	for code := range t {
		if s := http.StatusText(code); s != "" {
			t[code] = fmt.Sprintf("%d %s", code, s)
		}
	}
	return t
}

// checkUpgrade says whether an answer 101 is one that was asked for.
func (a *answer) checkUpgrade(h *Head) error {
	if a.upgrade == "" {
		return refuse("the protocol was switched unasked")
	}
	if h.minor == 0 || h.Has(NameTransferEncoding) {
		return refuse("malformed switch of the protocol")
	}
	to := string(h.Value(NameUpgrade))
	if h.Repeated(NameUpgrade) || !headerHas(strings.Split(a.upgrade, ","), to) || to == "" {
		return answerError(selvage.UpgradeFailed, errors.New("the protocol was switched to one that was not asked for"))
	}
	return nil
}
