package listen

import (
	"sync"
	"sync/atomic"
)

// Stats are the open connections by what is spoken on them, and what became of all.
type Stats struct {
	Pending int64 // accepted, and nothing of HTTP was read yet
	HTTP1   int64
	HTTP2   int64 // over TLS and without

	Accepted uint64 // since the start
	Refused  uint64 // of those, closed at once because of the limit
}

type counters struct {
	pending, http1, http2 atomic.Int64
	accepted, refused     atomic.Uint64
}

// Stats counts the connections.
func (g *Group) Stats() Stats {
	return Stats{
		Pending:  g.stats.pending.Load(),
		HTTP1:    g.stats.http1.Load(),
		HTTP2:    g.stats.http2.Load(),
		Accepted: g.stats.accepted.Load(),
		Refused:  g.stats.refused.Load(),
	}
}

// tally counts what is under way and waits until nothing is. Unlike a
// sync.WaitGroup it may be added to while somebody waits. The zero value is ready.
type tally struct {
	mu   sync.Mutex // guards what follows
	n    int
	none chan struct{} // closed when n becomes 0; nil unless somebody waits
}

// add counts one more and says how many there are.
func (t *tally) add() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	return t.n
}

func (t *tally) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.n == 0 && t.none != nil {
		close(t.none)
		t.none = nil
	}
}

func (t *tally) wait() {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return
	}
	if t.none == nil {
		t.none = make(chan struct{})
	}
	none := t.none
	t.mu.Unlock()
	<-none
}
