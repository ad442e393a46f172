package edgetest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
)

// runH2 serves HTTP/2 with the standard library's server.
func (o *Origin) runH2(ctx context.Context) error {
	srv := &http.Server{
		Handler:   http.HandlerFunc(o.serveH2),
		Protocols: new(http.Protocols),
		ErrorLog:  log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				c = t.NetConn()
			}
			o.admit(c)
			return ctx
		},
	}
	srv.Protocols.SetUnencryptedHTTP2(o.TLS == nil)
	srv.Protocols.SetHTTP2(o.TLS != nil)
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	l := o.listener
	if o.TLS != nil {
		cfg := o.TLS.Clone()
		cfg.NextProtos = []string{"h2"}
		l = tls.NewListener(l, cfg)
	}
	err := srv.Serve(l)
	_ = srv.Close() // the error that counts is Serve's
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (o *Origin) serveH2(w http.ResponseWriter, r *http.Request) {
	seen := o.note(r)
	s := o.pick(r.RequestURI).answer(r)
	if !s.has("early") && !s.has("echo") {
		if err := o.readBody(seen, r); err != nil {
			o.update(seen, func(s *Seen) { s.Gone = true })
			return
		}
	}
	err := s.play(r.Context(), &wire2{w, r}, noting{o, seen, r.Body})
	if errors.Is(err, http.ErrNotSupported) {
		o.problem("the script has bytes as they are, which HTTP/2 cannot send")
	}
	if err != nil {
		if !s.has("close") && !s.has("reset") {
			o.update(seen, func(s *Seen) { s.Gone = true })
		}
		panic(http.ErrAbortHandler)
	}
	if s.has("early") || s.has("echo") {
		o.update(seen, func(s *Seen) { s.Trailer = r.Trailer.Clone() })
	}
}

// wire2 writes one answer of HTTP/2.
type wire2 struct {
	w http.ResponseWriter
	r *http.Request
}

func (w *wire2) interim(status int, fields []field) error {
	for _, f := range fields {
		w.w.Header().Add(f.name, f.value)
	}
	w.w.WriteHeader(status)
	for _, f := range fields {
		w.w.Header().Del(f.name)
	}
	return nil
}

func (w *wire2) head(s *script) error {
	for _, f := range s.fields {
		w.w.Header().Add(f.name, f.value)
	}
	w.w.WriteHeader(s.status)
	if s.streams() || s.has("head") {
		return http.NewResponseController(w.w).Flush()
	}
	return nil
}

func (w *wire2) body(p string) error {
	if bodiless(w.r.Method, 200) || p == "" {
		return nil
	}
	if _, err := io.WriteString(w.w, p); err != nil {
		return err
	}
	return http.NewResponseController(w.w).Flush()
}

func (w *wire2) send(string) error { return http.ErrNotSupported }

func (w *wire2) end(trailers []field) error {
	for _, f := range trailers {
		w.w.Header().Add(http.TrailerPrefix+f.name, f.value)
	}
	return nil
}

func (w *wire2) cut(bool) {}
