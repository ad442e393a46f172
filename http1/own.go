package http1

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage/record"
)

// appendOwn writes an answer of the server's own, which is the last on its
// connection. why is shown to the client; it holds nothing that came from it.
func (s *Server) appendOwn(dst []byte, status int, why string, isHead bool, now time.Time) []byte {
	text := strconv.Itoa(status) + " " + http.StatusText(status)
	if why != "" {
		text += ": " + why
	}
	text += "\n"
	dst = appendStatus(dst, status)
	dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\n"...)
	dst = s.appendDate(dst, now)
	dst = appendLength(dst, int64(len(text)))
	dst = append(dst, "Connection: close\r\n\r\n"...)
	if !isHead {
		dst = append(dst, text...)
	}
	return dst
}

// refuse answers a request that no handler sees, and ends the connection: what
// follows it cannot be trusted to be a request.
func (c *conn) refuse(why *Refusal) {
	now := time.Now()
	h := &c.s.head
	r := &record.Record{Start: c.start, LimitHit: why.Limit, Detail: why.Why}
	c.describe(&r.Client)
	r.Request.HeadBytes = int64(len(c.in.bytes()))
	r.Timing.Head = now.Sub(c.start)
	if h.target.to > 0 {
		r.Request.Method = method(string(h.Method()))
		r.Request.Path, _, _ = strings.Cut(string(h.Target()), "?")
		r.Client.Protocol = "HTTP/1." + string('0'+rune(h.minor))
	}
	if host := h.Value(NameHost); isAuthority(host) {
		r.Request.Host = string(host)
	}
	sent := len(c.s.out)
	c.s.out = c.srv.appendOwn(c.s.out, why.Status, why.Why, r.Request.Method == http.MethodHead, now)
	r.Answer = record.Answer{Status: why.Status, HeadBytes: int64(len(c.s.out) - sent)}
	c.end = linger
	if c.flushOut(nil) != nil {
		r.Answer = record.Answer{}
		r.WhyBad = record.ClientGone
	}
	r.Timing.FirstByte = now.Sub(c.start)
	r.Timing.End = time.Since(c.start)
	if why.Limit != "" {
		c.srv.recordedLimit(why.Limit)
	}
	if c.srv.Done != nil {
		c.srv.Done(r)
	}
}
