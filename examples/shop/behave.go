package shop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

// Mode is how the shop misbehaves.
type Mode string

// The modes. What is done and then not told is what an idempotency key is for.
const (
	OK      Mode = "ok"      // as it should
	Error   Mode = "error"   // answers 503 at once
	Slow    Mode = "slow"    // waits, then answers
	Hang    Mode = "hang"    // never answers
	Garbage Mode = "garbage" // answers with something that is not HTTP
	Close   Mode = "close"   // does what was asked, then closes the connection without an answer
	Cut     Mode = "cut"     // closes the connection in the middle of the answer
)

var modes = []Mode{OK, Error, Slow, Hang, Garbage, Close, Cut}

// Behaviour says how the shop behaves, to how many requests.
type Behaviour struct {
	Mode  Mode          `json:"mode"`  // empty is ok
	Share int           `json:"share"` // of 100 requests; 0 is all of them
	Delay time.Duration `json:"delay"` // of slow, in nanoseconds; 0 is two seconds
}

// behave holds the behaviour of the moment.
type behave struct {
	now atomic.Pointer[Behaviour]
}

// set takes on a behaviour, after checking it.
func (b *behave) set(v Behaviour) error {
	if v.Mode == "" {
		v.Mode = OK
	}
	if v.Share == 0 {
		v.Share = 100
	}
	if v.Delay == 0 {
		v.Delay = 2 * time.Second
	}
	known := false
	for _, m := range modes {
		known = known || m == v.Mode
	}
	if !known {
		return fmt.Errorf("mode %q: write one of %v", v.Mode, modes)
	}
	if v.Share < 0 || v.Share > 100 || v.Delay < 0 || v.Delay > time.Hour {
		return fmt.Errorf("share must be from 0 to 100, delay from 0s to 1h")
	}
	b.now.Store(&v)
	return nil
}

// Behave changes how the shop behaves from the next request on.
func (s *Shop) Behave(v Behaviour) error { return s.behave.set(v) }

// serve lets next answer, or not.
func (b *behave) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	v := b.now.Load()
	if v.Mode == OK || rand.IntN(100) >= v.Share {
		next.ServeHTTP(w, r)
		return
	}
	switch v.Mode {
	case Error:
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "The shop was told to fail.", http.StatusServiceUnavailable)
	case Slow:
		select {
		case <-time.After(v.Delay):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	case Hang:
		<-r.Context().Done()
	case Garbage:
		takeOver(w, []byte("\x00\x17 this is not HTTP\r\n\r\n"))
	case Close:
		next.ServeHTTP(&nowhere{header: http.Header{}}, r)
		takeOver(w, nil)
	case Cut:
		whole := &nowhere{header: w.Header(), keep: true}
		next.ServeHTTP(whole, r)
		w.Header().Set("Content-Length", strconv.Itoa(whole.body.Len()+1))
		w.WriteHeader(max(whole.status, http.StatusOK))
		_, _ = w.Write(whole.body.Bytes()[:whole.body.Len()/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// takeOver writes bytes to the connection as they are, and closes it. HTTP/2 has a stream reset instead.
func takeOver(w http.ResponseWriter, raw []byte) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = c.Write(raw)
	c.Close()
}

// nowhere is where an answer goes that is not sent.
type nowhere struct {
	header http.Header
	keep   bool
	status int
	body   bytes.Buffer
}

func (n *nowhere) Header() http.Header { return n.header }

func (n *nowhere) WriteHeader(status int) {
	if n.status == 0 {
		n.status = status
	}
}

func (n *nowhere) Write(b []byte) (int, error) {
	if n.keep {
		return n.body.Write(b)
	}
	return len(b), nil
}

// operator lets only this machine in, and nobody through a proxy.
func operator(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		addr, parseErr := netip.ParseAddr(host)
		proxied := r.Header.Get("Via") != "" || r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != ""
		if err != nil || parseErr != nil || !addr.Unmap().IsLoopback() || proxied {
			http.Error(w, "Only from this machine, and not through a proxy.", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

func (s *Shop) showBehaviour(w http.ResponseWriter, _ *http.Request) {
	v := s.behave.now.Load()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(w, "mode=%s share=%d delay=%s\n", v.Mode, v.Share, v.Delay)
}

// changeBehaviour takes mode, share and delay; what is left out gets its default.
func (s *Shop) changeBehaviour(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	v := Behaviour{Mode: Mode(r.PostFormValue("mode"))}
	var err error
	if text := r.PostFormValue("share"); text != "" {
		if v.Share, err = strconv.Atoi(text); err == nil && v.Share == 0 {
			v.Mode = OK // of no request
		}
	}
	if text := r.PostFormValue("delay"); text != "" && err == nil {
		v.Delay, err = time.ParseDuration(text)
	}
	if err == nil {
		err = s.behave.set(v)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.showBehaviour(w, r)
}
