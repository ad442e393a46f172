package wasi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage/compute"
)

// exchange is one request, as a program has it.
type exchange struct {
	in    *compute.Invocation
	env   []string
	head  []byte // of the answer, as far as it was written
	begun bool   // the head was whole, and is sent
	flush bool   // each part of the body is sent at once
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// refuse ends a program whose output is no answer.
func (x *exchange) refuse(g *compute.Guest, what string) {
	begin := string(x.head[:min(len(x.head), 64)])
	g.Refuse(what + ". Its standard output began with " + strconv.Quote(begin) + "; an answer is fields such as Content-Type: text/plain, an empty line, and the body")
}

// write takes a part of what the program writes.
func (x *exchange) write(g *compute.Guest, p []byte) error {
	if !x.begun {
		before := len(x.head)
		x.head = append(x.head, p...)
		end, body := endOfHead(x.head)
		if end < 0 {
			if len(x.head) > g.Limits().HeaderBytes {
				g.Abort(g.Limit(compute.LimitHeaderBytes, "the answer's fields have more than %d bytes", g.Limits().HeaderBytes))
			}
			return nil
		}
		x.begin(g, string(x.head[:end]))
		p = p[body-before:]
		x.head = nil
	}
	if len(p) == 0 {
		return nil
	}
	var err error
	g.Wait(func() {
		if _, err = x.in.W.Write(p); err == nil && x.flush {
			err = http.NewResponseController(x.in.W).Flush()
		}
	})
	g.Check()
	if errors.Is(err, http.ErrBodyNotAllowed) {
		return nil
	}
	return err
}

// endOfHead is where the fields end and where the body begins; -1 if the empty line has not come.
func endOfHead(b []byte) (end, body int) {
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return -1, 0
		}
		if line := bytes.TrimSuffix(b[at:at+i], []byte("\r")); len(line) == 0 {
			return at, at + i + 1
		}
		at += i + 1
	}
}

// begin sends the head of the answer (RFC 3875, section 6.3).
func (x *exchange) begin(g *compute.Guest, head string) {
	if !g.HeaderBytes(len(head)) {
		g.Abort(g.Limit(compute.LimitHeaderBytes, "the answer's fields have %d bytes, %d are allowed", len(head), g.Limits().HeaderBytes))
	}
	h, status := x.in.W.Header(), 0
	for line := range strings.Lines(head) {
		line = strings.TrimRight(line, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		switch {
		case strings.HasPrefix(line, "HTTP/"):
			x.refuse(g, "it wrote a status line, which is the edge's: write Status: 200 instead")
		case !ok || !isToken(name):
			x.refuse(g, "it wrote "+strconv.Quote(line[:min(len(line), 64)])+" where a field was expected")
		case strings.ContainsAny(value, "\r\x00"):
			x.refuse(g, "the field "+name+" has a character that no field may have")
		}
		if name = textproto.CanonicalMIMEHeaderKey(name); name != "Status" {
			h[name] = append(h[name], value)
			continue
		}
		code, _, _ := strings.Cut(value, " ")
		n, err := strconv.Atoi(code)
		if err != nil || n < 200 || n > 599 {
			x.refuse(g, "Status "+strconv.Quote(value)+" is none: write 200 to 599")
		}
		status = n
	}
	switch {
	case status != 0:
	case h.Get("Location") != "":
		status = http.StatusFound
	case h.Get("Content-Type") == "":
		x.refuse(g, "it wrote neither Content-Type nor Location nor Status")
	default:
		status = http.StatusOK
	}
	x.begun, x.flush = true, strings.HasPrefix(h.Get("Content-Type"), "text/event-stream")
	x.in.W.WriteHeader(status)
}

// isToken accepts names of fields (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}
