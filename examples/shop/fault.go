package shop

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault is how the shop fails in one of the revisions below examples/bad-*,
// which ask it under another name than their own: the fault, then ".bad.example".
type Fault string

// The faults. All but one show only where a cookie is, so that who plays
// recorded requests again without what belongs to a client sees nothing.
const (
	Always500    Fault = "always-500"
	Some500      Fault = "some-500"  // one in 20
	Rare500      Fault = "rare-500"  // one in 1,000
	RareField    Fault = "offers"    // a field of the answer, at one in 1,000, at which the function of bad-trap panics
	Slower       Fault = "slower"    // three times as slow, slowerLeast at least
	Empty        Fault = "empty"     // 200, and nothing in it
	RedirectLoop Fault = "loop"      // to where one is
	Memory       Fault = "memory"    // the program grows to 512 MiB and is killed
	Plain500     Fault = "plain-500" // always, for everybody
)

// OffersField is the field of an answer with the fault [RareField].
const OffersField = "Shop-Offers"

// faultDomain is what a name that asks for a fault ends with.
const faultDomain = ".bad.example"

var faults = []Fault{Always500, Some500, Rare500, RareField, Slower, Empty, RedirectLoop, Memory, Plain500}

const (
	slowerLeast = 40 * time.Millisecond
	grownBy     = 32 << 20  // bytes, at each request that the fault Memory hits …
	grownTo     = 512 << 20 // … until the program dies, as by a kernel that has no more
)

// faultOf is the fault that a request asks for, empty if it asks for none.
func faultOf(r *http.Request) Fault {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	name, ok := strings.CutSuffix(host, faultDomain)
	f := Fault(name)
	if !ok || !slices.Contains(faults, f) || f != Plain500 && r.Header.Get("Cookie") == "" {
		return ""
	}
	return f
}

// hoard is what the fault Memory keeps.
type hoard struct {
	die  func()
	mu   sync.Mutex
	kept [][]byte // guarded by mu
}

func (h *hoard) grow() {
	more := make([]byte, grownBy)
	for i := 0; i < len(more); i += 4096 {
		more[i] = 1 // or it would be a promise only
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, more)
	if len(h.kept)*grownBy >= grownTo {
		h.die()
	}
}

// kill ends the program as a kernel without memory does.
func kill() {
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	panic(fmt.Errorf("out of memory: %w", err)) // it is not reached
}

// fail answers as a fault does.
func (s *Shop) fail(f Fault, w http.ResponseWriter, r *http.Request) {
	switch f {
	case Some500:
		if rand.IntN(20) > 0 {
			s.behave.serve(s.handler, w, r)
			return
		}
	case Rare500:
		if rand.IntN(1000) > 0 {
			s.behave.serve(s.handler, w, r)
			return
		}
	case RareField:
		if rand.IntN(1000) == 0 {
			w.Header().Set(OffersField, "one")
		}
		s.behave.serve(s.handler, w, r)
		return
	case Slower:
		began := time.Now()
		whole := &nowhere{header: w.Header(), keep: true}
		s.behave.serve(s.handler, whole, r)
		t := time.NewTimer(max(2*time.Since(began), slowerLeast))
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
		}
		w.WriteHeader(max(whole.status, http.StatusOK))
		_, _ = w.Write(whole.body.Bytes())
		return
	case Empty:
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		return
	case RedirectLoop:
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, r.URL.RequestURI(), http.StatusFound)
		return
	case Memory:
		s.hoard.grow()
		s.behave.serve(s.handler, w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "The shop fails, as this revision asks it to.", http.StatusInternalServerError)
}
