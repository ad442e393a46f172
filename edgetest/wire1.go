package edgetest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// wire1 writes one HTTP/1.1 message. The head says how the body is framed,
// and with a Content-Length or Transfer-Encoding of its own the script may
// frame it wrongly.
type wire1 struct {
	w       io.Writer
	conn    *Conn
	method  string // of the request, also where an answer is written
	target  string // empty in an answer
	version string
	host    string // where the script names none
	chunked bool
	silent  bool // an answer without a body
}

func (w *wire1) write(s string) error {
	_, err := io.WriteString(w.w, s)
	return err
}

func (w *wire1) interim(status int, fields []field) error {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	writeFields(&b, fields)
	b.WriteString("\r\n")
	return w.write(b.String())
}

func writeFields(b *strings.Builder, fields []field) {
	for _, f := range fields {
		b.WriteString(f.name + ": " + f.value + "\r\n")
	}
}

func (w *wire1) head(s *script) error {
	var b strings.Builder
	_, hasLength := s.value("Content-Length")
	_, hasCoding := s.value("Transfer-Encoding")
	framed := hasLength || hasCoding
	if w.target != "" {
		fmt.Fprintf(&b, "%s %s %s\r\n", w.method, w.target, w.version)
		if _, ok := s.value("Host"); !ok && w.host != "" {
			fmt.Fprintf(&b, "Host: %s\r\n", w.host)
		}
	} else {
		fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", s.status, http.StatusText(s.status))
		if _, ok := s.value("Date"); !ok {
			fmt.Fprintf(&b, "Date: %s\r\n", time.Now().UTC().Format(http.TimeFormat))
		}
		w.silent = bodiless(w.method, s.status)
	}
	writeFields(&b, s.fields)
	switch {
	case framed, s.status == http.StatusSwitchingProtocols, s.status == http.StatusNoContent:
	case s.streams():
		w.chunked = true
		b.WriteString("Transfer-Encoding: chunked\r\n")
		for _, t := range s.trailers() {
			fmt.Fprintf(&b, "Trailer: %s\r\n", t.name)
		}
	case w.target == "" && s.status != http.StatusNotModified, s.body != "":
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(s.body))
	}
	b.WriteString("\r\n")
	if s.status == http.StatusSwitchingProtocols {
		w.silent = false
	}
	return w.write(b.String())
}

func (w *wire1) body(p string) error {
	switch {
	case w.silent || p == "":
		return nil
	case w.chunked:
		return w.write(fmt.Sprintf("%x\r\n%s\r\n", len(p), p))
	}
	return w.write(p)
}

func (w *wire1) send(p string) error { return w.write(p) }

func (w *wire1) end(trailers []field) error {
	if !w.chunked || w.silent {
		return nil
	}
	var b strings.Builder
	b.WriteString("0\r\n")
	writeFields(&b, trailers)
	b.WriteString("\r\n")
	return w.write(b.String())
}

func (w *wire1) cut(reset bool) {
	if reset {
		w.conn.Reset()
		return
	}
	w.conn.end()
}
