package shop

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// maxStreams is how many listen to the prices at once. Beyond it the answer is 503.
const maxStreams = 1000

// Price is what a kilogram of a material costs now.
type Price struct {
	Material string `json:"material"`
	Cents    int    `json:"cents"`
	Change   int    `json:"change"` // from the price before, in cents
}

// Text is the price for people.
func (p Price) Text() string { return price(p.Cents) }

// startPrices are the prices of the morning.
func startPrices() []Price {
	return []Price{{"cotton", 212, 0}, {"hemp", 184, 0}, {"linen", 655, 0}, {"silk", 5890, 0}, {"wool", 1134, 0}}
}

// prices is the market: prices that move, and those who listen.
type prices struct {
	mu        sync.Mutex // guards what follows
	now       []Price
	number    int // of the last event
	listeners map[chan event]struct{}
}

// event is a price that moved.
type event struct {
	number int
	price  Price
}

func newPrices() *prices {
	return &prices{now: startPrices(), listeners: map[chan event]struct{}{}}
}

// move moves one price by up to a hundredth, and tells it. Who does not keep up
// misses it: the next one says more.
func (p *prices) move() {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := &p.now[rand.IntN(len(p.now))]
	span := max(1, m.Cents/100)
	m.Change = rand.IntN(2*span+1) - span
	if m.Cents+m.Change < 50 {
		m.Change = span
	}
	m.Cents += m.Change
	p.number++
	for c := range p.listeners {
		select {
		case c <- event{p.number, *m}:
		default:
		}
	}
}

// listen begins with all prices. It is false if too many listen.
func (p *prices) listen() (all []event, next chan event, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.listeners) >= maxStreams {
		return nil, nil, false
	}
	for _, m := range p.now {
		all = append(all, event{p.number, m})
	}
	next = make(chan event, 16)
	p.listeners[next] = struct{}{}
	return all, next, true
}

func (p *prices) leave(c chan event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.listeners, c)
}

// streamPrices sends every price as it moves (HTML Standard, section 9.2),
// and a comment every 15 seconds so that nobody takes the line for dead.
func (s *Shop) streamPrices(w http.ResponseWriter, r *http.Request) {
	all, next, ok := s.prices.listen()
	if !ok {
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusServiceUnavailable, "Too many listen already.")
		return
	}
	defer s.prices.leave(next)
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{}) // a server without deadlines has none to lift
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, "retry: 2000\n\n")
	for _, e := range all {
		e.write(w)
	}
	quiet := time.NewTicker(15 * time.Second)
	defer quiet.Stop()
	for {
		if err := control.Flush(); err != nil {
			return
		}
		select {
		case e := <-next:
			e.write(w)
		case <-quiet.C:
			_, _ = io.WriteString(w, ": still here\n\n")
		case <-r.Context().Done():
			return
		case <-s.ended:
			return
		}
	}
}

// write writes the event; an error shows when it is flushed.
func (e event) write(w http.ResponseWriter) {
	data, _ := json.Marshal(e.price) // two strings and numbers
	_, _ = fmt.Fprintf(w, "event: price\nid: %d\ndata: %s\n\n", e.number, data)
}
