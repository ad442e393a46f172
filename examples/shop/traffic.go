package shop

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Traffic lets some people use the shop at a base URL until ctx ends, about
// one request in 400 ms each.
func Traffic(ctx context.Context, base string, people int) {
	(&Shoppers{Base: base, People: people}).Run(ctx)
}

// Shoppers are people who use a shop: they look at cloths, search, fill a cart
// and order now and then. Most look at few of the cloths, as people do.
type Shoppers struct {
	// Base is the shop's URL, without a slash at its end.
	Base string
	// Host is the Host that is sent, if it is not Base's.
	Host string
	// People is how many there are, 5 if it is 0.
	People int
	// Pause is the mean time between two requests of one of them, 400 ms if it is 0.
	Pause time.Duration
	// Addresses is how many client addresses they come from, told in X-Forwarded-For as
	// by a proxy in front; 0 tells none. Each visit has one, and a cookie.
	Addresses int
	// Transport is used instead of one of their own.
	Transport http.RoundTripper
	// Seen, if set, gets every answer's status, or the error. It is called from many goroutines.
	Seen func(method, path string, status int, err error)
}

// Run is over when ctx ends.
func (s *Shoppers) Run(ctx context.Context) {
	transport := s.Transport
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.Proxy = nil
		own.MaxIdleConnsPerHost = 100
		defer own.CloseIdleConnections()
		transport = own
	}
	people, pause := s.People, s.Pause
	if people <= 0 {
		people = 5
	}
	if pause <= 0 {
		pause = 400 * time.Millisecond
	}
	var wg sync.WaitGroup
	for range people {
		wg.Go(func() {
			for ctx.Err() == nil {
				s.shopper(pause, transport).visit(ctx)
			}
		})
	}
	wg.Wait()
}

// newClient is a browser: its own cookies, and it follows no redirect that it was not told to.
func newClient(transport http.RoundTripper) *http.Client {
	jar, _ := cookiejar.New(nil) // never fails
	return &http.Client{Transport: transport, Jar: jar, Timeout: 15 * time.Second}
}

// shopper is one visit of one of them.
type shopper struct {
	s       *Shoppers
	pause   time.Duration
	client  *http.Client
	address string // empty: its own
}

func (s *Shoppers) shopper(pause time.Duration, transport http.RoundTripper) *shopper {
	p := &shopper{s: s, pause: pause, client: newClient(transport)}
	if s.Addresses > 0 {
		n := mathrand.IntN(min(s.Addresses, 1<<17))
		p.address = netip.AddrFrom4([4]byte{198, byte(18 + n>>16), byte(n >> 8), byte(n)}).String() // RFC 2544: for tests
	}
	return p
}

// visit looks around, and orders at the end if something is in the cart.
func (p *shopper) visit(ctx context.Context) {
	cart := 0
	p.get(ctx, "/")
	for range 5 + mathrand.IntN(20) {
		if ctx.Err() != nil {
			return
		}
		switch n := mathrand.IntN(100); {
		case n < 55:
			id := someProduct()
			p.get(ctx, fmt.Sprintf("/p/%d", id))
			p.get(ctx, fmt.Sprintf("/img/%d.png", id))
			p.get(ctx, "/api/cart")
		case n < 70:
			words := []string{"wool", "linen", "blue", "denim", "tweed", "silk satin", "shirts", "rain", "velvet"}
			p.get(ctx, "/search?q="+url.QueryEscape(words[mathrand.IntN(len(words))]))
		case n < 80:
			p.get(ctx, "/")
		case n < 88:
			p.get(ctx, fmt.Sprintf("/api/products/%d", someProduct()))
		case n < 91:
			p.get(ctx, "/products/42") // an old link
		default:
			p.post(ctx, "/cart/add", url.Values{"id": {fmt.Sprint(someProduct())}, "metres": {fmt.Sprint(1 + mathrand.IntN(4))}}, "")
			cart++
		}
	}
	if cart > 0 && mathrand.IntN(2) == 0 {
		p.order(ctx)
	}
}

// someProduct is one of the cloths, a few of them much more often than others.
func someProduct() int {
	last := len(catalogue) - 1
	return catalogue[last-int(float64(len(catalogue))*mathrand.Float64()*mathrand.Float64()*mathrand.Float64())].ID
}

// order orders, and tries again with the same key if it does not know whether it has.
func (p *shopper) order(ctx context.Context) {
	key := rand.Text()
	form := url.Values{"name": {"A. Shopper"}, "reference": {key}}
	for range 4 {
		if status := p.post(ctx, "/orders", form, key); status > 0 && status < 500 || ctx.Err() != nil {
			return
		}
	}
}

func (p *shopper) get(ctx context.Context, path string) {
	p.ask(ctx, http.MethodGet, path, "", "")
}

func (p *shopper) post(ctx context.Context, path string, form url.Values, key string) (status int) {
	return p.ask(ctx, http.MethodPost, path, form.Encode(), key)
}

// ask waits its turn, sends a request and reads the answer. The status is 0 if there was none.
func (p *shopper) ask(ctx context.Context, method, path, form, key string) (status int) {
	if !p.rest(ctx) {
		return 0
	}
	r, err := http.NewRequestWithContext(ctx, method, p.s.Base+path, strings.NewReader(form))
	if err == nil {
		r.Host = p.s.Host
		r.Header.Set("User-Agent", "shop-traffic")
		if p.address != "" {
			r.Header.Set("X-Forwarded-For", p.address)
			r.AddCookie(&http.Cookie{Name: "visit", Value: p.address})
		}
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if key != "" {
			r.Header.Set("Idempotency-Key", `"`+key+`"`)
		}
		status, err = p.send(r)
	}
	if p.s.Seen != nil && ctx.Err() == nil {
		p.s.Seen(method, path, status, err)
	}
	return status
}

func (p *shopper) send(r *http.Request) (int, error) {
	resp, err := p.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// rest waits between half and one and a half of the pause. It is false when all is over.
func (p *shopper) rest(ctx context.Context) bool {
	t := time.NewTimer(p.pause/2 + mathrand.N(p.pause))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
