// Package shop is a small real shop: the origin that Selvage is tried with. It
// sells thirty cloths by the metre, with pages, pictures, a search, a cart in
// a cookie, orders that are durable before they are confirmed, prices as
// server-sent events, a chat over WebSocket and a JSON API. It can be told to
// fail, to be slow, to hang or to talk nonsense.
//
// Look at [New] first; the [Shop] is an [http.Handler]. [Traffic] are people who
// use it, [WriteService] is the service file in front of it.
//
// It promises that an order which was confirmed is on disk, and that one
// idempotency key makes one order. It refuses to know anything of the edge: it
// is an application like any other.
package shop

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options say how a shop is run. The zero value works: orders are then kept in memory only.
type Options struct {
	// Data is the folder in which orders.jsonl lies. It is made if it is not there.
	Data string
	// Name is what it says in Server, so that one can see who answered. "shop" if it is empty.
	Name string
	// Behave is how it behaves at first.
	Behave Behaviour
	// Tick is the time between two prices, one second if it is 0.
	Tick time.Duration
	// Log gets what went wrong. Without it nothing is logged.
	Log *slog.Logger
}

// Shop is the application. It is safe for concurrent use.
type Shop struct {
	name     string
	tick     time.Duration
	log      *slog.Logger
	handler  http.Handler // without the behaviour
	pages    map[string]*template.Template
	static   map[string]asset
	swatches swatches
	orders   *orders
	prices   *prices
	room     *room
	behave   behave
	hoard    hoard
	ended    chan struct{} // closed when the streams are to end
	end      sync.Once
}

//go:embed pages static
var files embed.FS

// New opens a shop and reads the orders it has. It starts nothing; [Shop.Run] does.
func New(o Options) (*Shop, error) {
	if o.Name == "" {
		o.Name = "shop"
	}
	if o.Tick <= 0 {
		o.Tick = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Shop{name: o.Name, tick: o.Tick, log: o.Log, prices: newPrices(), room: newRoom(), hoard: hoard{die: kill}, ended: make(chan struct{})}
	if err := s.behave.set(o.Behave); err != nil {
		return nil, err
	}
	file := ""
	if o.Data != "" {
		if err := os.MkdirAll(o.Data, 0o755); err != nil {
			return nil, err
		}
		file = filepath.Join(o.Data, "orders.jsonl")
	}
	var err error
	if s.orders, err = openOrders(file); err != nil {
		return nil, err
	}
	if err := errors.Join(s.loadStatic(), s.loadPages()); err != nil {
		return nil, errors.Join(err, s.orders.close())
	}
	s.routes()
	return s, nil
}

// Run moves the prices until ctx ends. Then it ends all streams and closes the
// orders. The result is nil unless the orders could not be closed.
func (s *Shop) Run(ctx context.Context) error {
	t := time.NewTicker(s.tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.prices.move()
		case <-ctx.Done():
			s.EndStreams()
			return s.orders.close()
		}
	}
}

// EndStreams ends all streams, so that a server can be shut down without cutting other answers.
func (s *Shop) EndStreams() { s.end.Do(func() { close(s.ended) }) }

// routes are all addresses. What is told to the shop itself is under /_shop/
// and answered to this machine only; no service file should route it.
func (s *Shop) routes() {
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", s.home)
	m.HandleFunc("GET /p/{id}", s.product)
	m.HandleFunc("GET /img/{name}", s.picture)
	m.HandleFunc("GET /static/{name}", s.asset)
	m.HandleFunc("GET /search", s.search)
	m.HandleFunc("GET /cart", s.showCart)
	m.HandleFunc("POST /cart/add", s.addToCart)
	m.HandleFunc("POST /cart/remove", s.removeFromCart)
	m.HandleFunc("POST /orders", s.placeOrder)
	m.HandleFunc("GET /orders/{id}", s.showOrder)
	m.HandleFunc("GET /prices", s.streamPrices)
	m.HandleFunc("GET /chat", s.chatPage)
	m.HandleFunc("GET /chat/ws", s.chatSocket)
	m.HandleFunc("GET /api/products", s.apiProducts)
	m.HandleFunc("GET /api/products/{id}", s.apiProduct)
	m.HandleFunc("GET /api/cart", s.apiCart)
	m.HandleFunc("GET /healthz", s.health)
	m.HandleFunc("GET /_shop/behave", operator(s.showBehaviour))
	m.HandleFunc("POST /_shop/behave", operator(s.changeBehaviour))
	m.HandleFunc("GET /_shop/orders", operator(s.countOrders))
	m.HandleFunc("GET /", s.notFound)
	s.handler = http.NewCrossOriginProtection().Handler(m) // other sites' forms do not order here
}

// ServeHTTP answers, or does what it was told to do instead.
func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Server", s.name)
	h.Set("X-Content-Type-Options", "nosniff")
	if strings.HasPrefix(r.URL.Path, "/_shop/") {
		s.handler.ServeHTTP(w, r)
		return
	}
	if f := faultOf(r); f != "" {
		s.fail(f, w, r)
		return
	}
	s.behave.serve(s.handler, w, r)
}

func (s *Shop) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}
