package main

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/selvage-edge/selvage/examples/shop"
)

// witness is the shop, and sees what the canary makes: what asks it under
// another name than the shop's own.
type witness struct {
	url  string
	shop *shop.Shop
	srv  *http.Server
	done chan struct{}
	stop context.CancelFunc

	mu   sync.Mutex // guards what follows
	made account
	lost int64 // requests without an answer since the run began
	why  error // of the last of them
}

// account is what a canary made for users. Replays have no cookie.
type account struct {
	first, last time.Time // when the shop was asked
	n, bad      int64
	users       map[string]bool // who met a bad one
	failed      int64           // answers of 5xx that shoppers got, whoever made them
}

func newWitness(ctx context.Context, folder string) (*witness, error) {
	s, err := shop.New(shop.Options{Data: filepath.Join(folder, "shop")})
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &witness{url: "http://" + l.Addr().String(), shop: s, done: make(chan struct{}, 2)}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stop = stop
	w.srv = &http.Server{Handler: w, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.Run(running); w.done <- struct{}{} }() // waited for by close
	go func() { _ = w.srv.Serve(l); w.done <- struct{}{} }() // waited for by close
	return w, nil
}

func (w *witness) close() {
	w.stop()
	_ = w.srv.Close()
	<-w.done
	<-w.done
}

// begin forgets what an earlier canary made.
func (w *witness) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made, w.lost, w.why = account{users: map[string]bool{}}, 0, nil
}

// now is what the canary made so far, and how many requests got no answer.
func (w *witness) now() (made account, lost int64, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.made, w.lost, w.why
}

// seen is told what came of every request.
func (w *witness) seen(_, _ string, status int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if status >= http.StatusInternalServerError {
		w.made.failed++
	}
	if err != nil && !strings.Contains(err.Error(), "redirects") {
		w.lost++
		w.why = err
	}
}

// slowFrom is what nobody waits for at this shop but for the revision that is slow.
const slowFrom = 35 * time.Millisecond

// ServeHTTP implements http.Handler.
func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	visit, err := r.Cookie("visit")
	if err != nil || !strings.Contains(r.Host, ".example") {
		w.shop.ServeHTTP(rw, r)
		return
	}
	began := time.Now()
	w.mu.Lock()
	w.made.n++
	if w.made.first.IsZero() {
		w.made.first = began
	}
	w.made.last = began
	w.mu.Unlock()
	seen := &answer{ResponseWriter: rw}
	w.shop.ServeHTTP(seen, r)
	slow := strings.HasPrefix(r.Host, string(shop.Slower)) && time.Since(began) >= slowFrom
	if seen.status >= 500 || seen.size == 0 && seen.status != http.StatusSeeOther || seen.loops(r) || slow || seen.Header().Get(shop.OffersField) != "" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.made.bad++
		w.made.users[visit.Value] = true
	}
}

// answer notes what is answered.
type answer struct {
	http.ResponseWriter
	status int
	size   int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.size += len(b)
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// loops says that the answer sends to where the request was.
func (a *answer) loops(r *http.Request) bool {
	return a.status == http.StatusFound && a.Header().Get("Location") == r.URL.RequestURI()
}
