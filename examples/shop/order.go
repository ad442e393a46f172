package shop

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxForm bounds what is read of a form.
const maxForm = 64 << 10

// Order is an order as it stands in the file.
type Order struct {
	Number int       `json:"number"` // from 1001, one after the other
	ID     string    `json:"id"`     // the number, and what nobody can guess
	At     time.Time `json:"at"`
	Key    string    `json:"key,omitempty"`       // the idempotency key
	Ref    string    `json:"reference,omitempty"` // what the customer calls it; two orders with one are doubled
	Name   string    `json:"name"`
	Lines  []Line    `json:"lines"`
	Cents  int       `json:"cents"`
}

// Line is one cloth of an order.
type Line struct {
	Product int    `json:"product"`
	Name    string `json:"name"`
	Metres  int    `json:"metres"`
	Cents   int    `json:"cents"`
}

// same says whether two orders ask for the same.
func (o *Order) same(p *Order) bool {
	return o.Name == p.Name && o.Ref == p.Ref && slices.Equal(o.Lines, p.Lines)
}

// orders are all orders: in a file of JSON lines, and in memory to be found.
type orders struct {
	writing sync.Mutex // one order is written after the other; guards file and size
	file    *os.File   // nil: memory only
	size    int64      // of the whole lines

	mu    sync.RWMutex // guards what follows; never held while the disk works
	list  []*Order
	byID  map[string]*Order
	byKey map[string]*Order
}

var (
	errOtherOrder = errors.New("this idempotency key was used for another order")
	errClosed     = errors.New("the shop is closed")
)

// openOrders reads the file, and cuts off a last line that was not finished
// when the machine stopped: it was never confirmed.
func openOrders(name string) (*orders, error) {
	o := &orders{byID: map[string]*Order{}, byKey: map[string]*Order{}}
	if name == "" {
		return o, nil
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := o.read(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	o.file = f
	return o, nil
}

func (o *orders) read(f *os.File) error {
	r := bufio.NewReader(f)
	for n := 1; ; n++ {
		text, err := r.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		order := new(Order)
		if err := json.Unmarshal(text, order); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		o.size += int64(len(text))
		o.keep(order)
	}
	if err := f.Truncate(o.size); err != nil {
		return err
	}
	_, err := f.Seek(o.size, io.SeekStart)
	return err
}

func (o *orders) keep(order *Order) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, order)
	o.byID[order.ID] = order
	if order.Key != "" {
		o.byKey[order.Key] = order
	}
}

func (o *orders) find(id string) (*Order, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	order, ok := o.byID[id]
	return order, ok
}

// place makes an order durable and gives it its number. An order with the key
// of an earlier one is that one, if it asks for the same.
func (o *orders) place(order Order) (placed *Order, replayed bool, err error) {
	o.writing.Lock()
	defer o.writing.Unlock()
	o.mu.RLock()
	earlier, last := o.byKey[order.Key], 1000
	if n := len(o.list); n > 0 {
		last = o.list[n-1].Number
	}
	o.mu.RUnlock()
	if earlier != nil {
		if !earlier.same(&order) {
			return nil, false, errOtherOrder
		}
		return earlier, true, nil
	}
	order.Number = last + 1
	order.ID = fmt.Sprintf("%d-%s", order.Number, strings.ToLower(rand.Text()[:10]))
	if err := o.append(&order); err != nil {
		return nil, false, err
	}
	o.keep(&order)
	return &order, false, nil
}

// append writes one line and waits for the disk. What was half written is taken back.
func (o *orders) append(order *Order) error {
	if o.file == nil {
		return nil
	}
	text, err := json.Marshal(order)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if _, err = o.file.Write(text); err == nil {
		err = o.file.Sync()
	}
	if errors.Is(err, os.ErrClosed) {
		return errClosed
	}
	if err != nil {
		_, seekErr := o.file.Seek(o.size, io.SeekStart)
		return errors.Join(fmt.Errorf("write order: %w", err), o.file.Truncate(o.size), seekErr)
	}
	o.size += int64(len(text))
	return nil
}

func (o *orders) close() error {
	o.writing.Lock()
	defer o.writing.Unlock()
	if o.file == nil {
		return nil
	}
	if err := o.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// newKey is a fresh idempotency key.
func newKey() string { return rand.Text() }

// placeOrder orders what is in the cart, or in the form. Its idempotency key is
// a field of the form or Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).
func (s *Shop) placeOrder(w http.ResponseWriter, r *http.Request) {
	if !readForm(w, r) {
		return
	}
	c := readCart(r)
	if r.PostForm.Has("id") {
		p, metres, ok := choice(w, r)
		if !ok {
			return
		}
		c = cart{}.add(p, metres)
	}
	order := Order{At: time.Now().UTC(), Name: strings.TrimSpace(r.PostForm.Get("name")), Ref: r.PostForm.Get("reference"), Cents: c.Cents()}
	if order.Key = strings.Trim(r.Header.Get("Idempotency-Key"), `"`); order.Key == "" {
		order.Key = r.PostForm.Get("key")
	}
	if len(c) == 0 || order.Name == "" || len(order.Name)+len(order.Ref)+len(order.Key) > 1000 {
		refuse(w, http.StatusUnprocessableEntity, "An order needs something in the cart and a name.")
		return
	}
	for _, l := range c {
		order.Lines = append(order.Lines, Line{l.Product.ID, l.Product.Name, l.Metres, l.Cents()})
	}
	placed, replayed, err := s.orders.place(order)
	switch {
	case errors.Is(err, errOtherOrder):
		refuse(w, http.StatusUnprocessableEntity, "This idempotency key was used for another order.")
		return
	case err != nil:
		s.log.Error("order not written", "error", err)
		refuse(w, http.StatusServiceUnavailable, "The order was not taken. Try again.")
		return
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	cart(nil).write(w)
	if wantsJSON(r) {
		w.Header().Set("Location", "/orders/"+placed.ID)
		w.Header().Set("Cache-Control", keepNot)
		writeJSON(w, http.StatusCreated, placed)
		return
	}
	seeOther(w, r, "/orders/"+placed.ID)
}

func (s *Shop) showOrder(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", keepNot)
	order, ok := s.orders.find(r.PathValue("id"))
	switch {
	case !ok:
		s.page(w, "missing", http.StatusNotFound, view{Title: "No such order"})
	case wantsJSON(r):
		writeJSON(w, http.StatusOK, order)
	default:
		s.page(w, "order", http.StatusOK, view{Title: fmt.Sprintf("Order %d", order.Number), Order: order})
	}
}

// Tally says how many orders there are, and which references more than one has.
type Tally struct {
	Orders  int      `json:"orders"`
	Cents   int      `json:"cents"`
	Doubled []string `json:"doubled"`
}

// Tally counts the orders.
func (s *Shop) Tally() Tally {
	s.orders.mu.RLock()
	defer s.orders.mu.RUnlock()
	t := Tally{Orders: len(s.orders.list), Doubled: []string{}}
	seen := map[string]int{}
	for _, o := range s.orders.list {
		t.Cents += o.Cents
		if o.Ref == "" {
			continue
		}
		if seen[o.Ref]++; seen[o.Ref] == 2 {
			t.Doubled = append(t.Doubled, o.Ref)
		}
	}
	return t
}

func (s *Shop) countOrders(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, s.Tally())
}

// writeJSON sends a value of ours, which can always be written.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body := marshal(v)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		panic(err) // none of our values has anything that JSON has not
	}
	return b.Bytes()
}
