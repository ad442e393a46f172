package edgetest

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// exchange is a request of the scenario's client and what came back.
type exchange struct {
	method string
	line   string // as the scenario has it
	client client
	begun  time.Time

	mu       sync.Mutex
	cond     sync.Cond
	held     bool // mu; the client does not read yet
	interims []interim
	status   int // mu; 0 until there is an answer
	proto    string
	header   http.Header
	headAt   time.Time
	headSeen bool // an expectation has looked at the head
	body     []byte
	taken    int // mu; of body, by expect chunk
	nextSeen int // mu; of interims, by expect interim
	ended    bool
	endErr   error // mu; why the body ended too early
	trailer  http.Header
	failed   error // mu; why there will be no answer
}

type interim struct {
	status int
	header http.Header
}

func newExchange(method, line string) *exchange {
	x := &exchange{method: method, line: line, begun: time.Now()}
	x.cond.L = &x.mu
	return x
}

func (x *exchange) update(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f()
	x.cond.Broadcast()
}

// patience is how much virtual time an expectation lets pass at the most.
const patience = 2 * time.Hour

// await waits until ready, which is asked with the lock held, and says whether
// it came true in time.
func (x *exchange) await(ready func() bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	late := false
	timer := time.AfterFunc(patience, func() { x.update(func() { late = true }) })
	defer timer.Stop()
	for !ready() && !late {
		x.cond.Wait()
	}
	return ready()
}

// awaitHead waits for the final answer's head.
func (x *exchange) awaitHead() error {
	x.release()
	if !x.await(func() bool { return x.status != 0 || x.failed != nil }) {
		return fmt.Errorf("got no answer to %q within %v", x.line, patience)
	}
	if x.failed != nil {
		return fmt.Errorf("got no answer to %q: %w", x.line, x.failed)
	}
	x.headSeen = true
	return nil
}

// awaitEnd waits for the answer's end, be it a good one or not.
func (x *exchange) awaitEnd() error {
	if err := x.awaitHead(); err != nil {
		return err
	}
	if !x.await(func() bool { return x.ended }) {
		return fmt.Errorf("got %d bytes and no end of the answer to %q within %v", len(x.body), x.line, patience)
	}
	return nil
}

func (x *exchange) release() { x.update(func() { x.held = false }) }

// settled says whether the answer has come whole or never will.
func (x *exchange) settled() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ended || x.failed != nil
}

func (x *exchange) noteHead(status int, proto string, header http.Header) {
	x.update(func() { x.status, x.proto, x.header, x.headAt = status, proto, header, time.Now() })
}

func (x *exchange) noteEnd(trailer http.Header, err error) {
	x.update(func() { x.ended, x.endErr, x.trailer = true, err, trailer })
}

func (x *exchange) fail(err error) {
	x.update(func() {
		switch {
		case x.ended || x.failed != nil:
		case x.status != 0:
			x.ended, x.endErr = true, err
		default:
			x.failed = err
		}
	})
}
