package http1

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage/record"
)

// ofConnection are the answer's fields that the server writes itself.
var ofConnection = setOf(NameConnection, NameContentLength, NameTransferEncoding, NameTrailer, NameKeepAlive,
	NameProxyConnection)

var errShort = errors.New("write answer: the handler wrote less than it announced")

// fix writes the status line and the handler's fields. What frames the answer
// follows in commit, when more is known of the body. A header that cannot be
// written makes the answer a 500.
func (w *response) fix(status int) {
	x := w.x
	s := x.c.s
	if w.waiting.Swap(false) {
		w.closing = true // whether the client sends its body now, nobody knows
	}
	w.readHeader(status)
	if w.fields != nil {
		s.out = w.fields.AppendFields(appendStatus(s.out, status))
		w.fields, w.state = nil, headed
		return
	}
	out, err := appendFields(appendStatus(s.out, status), w.header, ofConnection)
	if err != nil {
		x.rec.WhyBad, x.rec.Detail = record.OwnError, err.Error()
		w.replace(http.StatusInternalServerError)
		w.err = err
		return
	}
	s.out = out
	if _, has := w.header["Date"]; !has {
		s.out = x.c.srv.appendDate(s.out, time.Now())
	}
	w.state = headed
}

// readHeader takes from the handler's header what the server writes itself.
func (w *response) readHeader(status int) {
	w.status = status
	w.noBody = status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
	if v := w.header["Content-Length"]; len(v) == 1 {
		if n, err := strconv.ParseUint(v[0], 10, 63); err == nil {
			w.length = int64(n)
		}
	}
	for _, v := range w.header["Connection"] {
		for option := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(option), "close") {
				w.closing = true
			}
		}
	}
	for _, v := range w.header["Trailer"] {
		list, _ := tokenList(nil, []byte(v))
		for _, name := range list {
			if n := lookUpName(name); n == NameOther || !neverTrailer.has(n) {
				w.names = append(w.names, http.CanonicalHeaderKey(string(name)))
			}
		}
	}
}

// commit ends the head with what frames the answer (RFC 9112, section 6). final
// says that the body is complete: all of it is waiting.
func (w *response) commit(final bool) {
	x := w.x
	s := x.c.s
	switch {
	case w.noBody:
		if w.status == http.StatusNotModified && w.length >= 0 {
			s.out = appendLength(s.out, w.length)
		}
	case w.length >= 0:
		s.out = appendLength(s.out, w.length)
	case w.isHead:
		if final && w.written > 0 {
			s.out = appendLength(s.out, w.written)
		}
	case final && (w.minor == 0 || !w.hasTrailers()):
		w.length = int64(len(s.pending))
		s.out = appendLength(s.out, w.length)
	case w.minor == 1:
		w.chunked = true
		s.out = append(s.out, "Transfer-Encoding: chunked\r\n"...)
		if len(w.names) > 0 {
			s.out = appendField(s.out, "Trailer", strings.Join(w.names, ", "))
		}
	default:
		w.closing = true // the end of the connection is the end of the body
	}
	c := x.c
	w.closing = w.closing || !s.want.keepAlive || c.srv.draining.Load() || final && x.body.leftMuch()
	w.appendConnection()
	s.out = append(s.out, "\r\n"...)
	x.rec.Answer.Status = w.status
	x.rec.Answer.HeadBytes = int64(len(s.out))
	w.state = committed
}

func (w *response) appendConnection() {
	s := w.x.c.s
	upgrade := (w.status == http.StatusSwitchingProtocols || w.status == http.StatusUpgradeRequired) &&
		len(w.header["Upgrade"]) > 0
	closing := w.closing && w.status != http.StatusSwitchingProtocols
	switch {
	case upgrade && closing:
		s.out = append(s.out, "Connection: Upgrade, close\r\n"...)
	case upgrade:
		s.out = append(s.out, "Connection: Upgrade\r\n"...)
	case closing:
		s.out = append(s.out, "Connection: close\r\n"...)
	case w.minor == 0:
		s.out = append(s.out, "Connection: keep-alive\r\n"...)
	}
}

func appendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// hasTrailers says whether the handler announced trailers or has some already.
func (w *response) hasTrailers() bool {
	if len(w.names) > 0 {
		return true
	}
	for k := range w.header {
		if strings.HasPrefix(k, http.TrailerPrefix) {
			return true
		}
	}
	return false
}

// appendEnd adds the last chunk and the trailers to the tail.
func (w *response) appendEnd() error {
	s := w.x.c.s
	s.tail = append(s.tail, "0\r\n"...)
	if w.hasTrailers() {
		trailers := make(http.Header, len(w.names))
		for _, name := range w.names {
			trailers[name] = w.header[name]
		}
		for k, v := range w.header {
			if name, ok := strings.CutPrefix(k, http.TrailerPrefix); ok {
				name = http.CanonicalHeaderKey(name)
				trailers[name] = slices.Concat(trailers[name], v)
			}
		}
		tail, err := appendFields(s.tail, trailers, neverTrailer)
		if err != nil {
			w.err = err
			return err
		}
		s.tail = tail
	}
	s.tail = append(s.tail, "\r\n"...)
	return nil
}

// replace puts an answer of ours in the place of one of which nothing was
// written yet.
func (w *response) replace(status int) {
	s := w.x.c.s
	w.status, w.own, w.closing = status, true, true
	w.x.rec.Answer.Status = status
	s.pending = s.pending[:0]
	s.out = w.x.c.srv.appendOwn(s.out[:0], status, "", w.isHead, time.Now())
	w.x.rec.Answer.HeadBytes = int64(len(s.out))
	w.state = committed
}

// fail notes that the handler did not return as it should.
func (w *response) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = err
}

// finish completes the answer, fills the record and says how the connection
// goes on.
func (w *response) finish() ending {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.state = finished }()
	r := &w.x.rec
	if w.isTakenOver.Load() {
		if r.Answer.Status == 0 {
			r.Answer.Status = http.StatusSwitchingProtocols
		}
		return takenOver
	}
	whole := w.complete()
	if !w.own {
		r.Answer.BodyBytes = w.written
		if w.isHead {
			r.Answer.BodyBytes = 0
		}
	}
	switch {
	case whole && w.closing:
		return closeNow
	case whole:
		return goOn
	}
	if w.state < begun {
		r.Answer.Status, r.Answer.HeadBytes, r.Answer.BodyBytes = 0, 0, 0
	} else {
		r.Answer.Broken = true
	}
	w.blame()
	if w.state == begun && (w.chunked || w.length >= 0) {
		return closeNow // the client misses the rest by itself
	}
	return abort
}

// complete writes the rest of the answer. It says whether the client was sent a
// whole one.
func (w *response) complete() bool {
	x := w.x
	r := &x.rec
	ended := x.ctx.ended()
	switch {
	case w.failed == errPanicked && w.state < begun:
		w.replace(http.StatusInternalServerError)
	case w.failed != nil:
		return false
	case x.body.status.Load() != 0 && w.state < begun && w.status/100 != 4:
		w.replace(int(x.body.status.Load())) // whatever the handler made of it
	case w.state == open && errors.Is(ended, context.DeadlineExceeded):
		r.WhyBad = record.DeadlineTotal
		x.limitHit("deadline_total")
		x.c.clock.begin(time.Time{}) // saying so has its own time
		w.replace(http.StatusServiceUnavailable)
	case w.state == open && ended != nil:
		return false
	}
	if w.own {
		return w.put([...][]byte{x.c.s.out, nil, nil, nil}) == nil
	}
	if w.state == open {
		w.fix(http.StatusOK)
	}
	if w.own { // the header could not be written
		return w.put([...][]byte{x.c.s.out, nil, nil, nil}) == nil
	}
	if w.err != nil {
		return false
	}
	if w.state == headed {
		w.commit(true)
	}
	if w.send(nil, true) != nil {
		return false
	}
	if w.length > w.written && !w.isHead && !w.noBody {
		w.err = errShort
		return false
	}
	return true
}

// blame notes why the client was not sent a whole answer.
func (w *response) blame() {
	x := w.x
	r := &x.rec
	late := new(deadlineError)
	isLate := errors.As(w.err, &late)
	if isLate && late.limit != "" {
		x.limitHit(late.limit)
	}
	if r.Detail == "" && w.err != nil {
		r.Detail = w.err.Error()
	}
	if r.WhyBad != record.Good {
		return
	}
	switch {
	case isLate && late.limit == "deadline_total", errors.Is(x.ctx.ended(), context.DeadlineExceeded):
		r.WhyBad = record.DeadlineTotal
	case w.err == errShort:
		r.WhyBad = record.BrokenAnswer
	case x.c.gone.Load() && !x.c.isCut.Load():
		r.WhyBad = record.ClientGone
	default:
		r.WhyBad = record.BrokenAnswer
	}
}
