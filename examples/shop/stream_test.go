package shop

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// lines reads a stream until a line begins so, and returns it.
func lines(t *testing.T, r *bufio.Reader, begin string) string {
	t.Helper()
	for {
		s, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ended before %q: %v", begin, err)
		}
		if strings.HasPrefix(s, begin) {
			return strings.TrimSpace(s)
		}
	}
}

func TestPricesArriveAsTheyMove(t *testing.T) {
	s := open(t, Options{})
	base, browser := serve(t, s)
	resp, err := browser.Get(base + "/prices")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("fields %v", resp.Header)
	}
	r := bufio.NewReader(resp.Body)
	for _, p := range startPrices() {
		want, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := lines(t, r, "data: "); got != "data: "+string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	s.prices.move()
	if got := lines(t, r, "id: "); got != "id: 1" {
		t.Errorf("the first move is %q, want id: 1", got)
	}
	s.EndStreams()
	for err == nil {
		_, err = r.ReadString('\n')
	}
	if err.Error() != "EOF" {
		t.Errorf("the stream ended with %v, want a whole end", err)
	}
}

func TestTooManyListenersAreTurnedAway(t *testing.T) {
	s := open(t, Options{})
	for range maxStreams {
		if _, _, ok := s.prices.listen(); !ok {
			t.Fatal("turned away too early")
		}
	}
	if w := ask(s, "GET", "/prices", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, want 503 with Retry-After", w.Code)
	}
	for range 100 {
		s.prices.move() // nobody reads: it must not wait
	}
}

func enter(t *testing.T, base, name string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), strings.Replace(base, "http", "ws", 1)+"/chat/ws?name="+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	return c
}

func hear(t *testing.T, c *websocket.Conn) Said {
	t.Helper()
	_, text, err := c.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var m Said
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEverybodyInTheRoomHearsEverything(t *testing.T) {
	s := open(t, Options{})
	base, _ := serve(t, s)
	ann, bob := enter(t, base, "ann"), enter(t, base, "bob")
	say := func(c *websocket.Conn, text string) {
		t.Helper()
		if err := c.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	say(ann, " what is hopsack? ")
	for _, c := range []*websocket.Conn{ann, bob} {
		if m := hear(t, c); m.From != "ann" || m.Text != "what is hopsack?" || m.At.IsZero() {
			t.Errorf("heard %+v", m)
		}
	}
	say(bob, strings.Repeat("é", maxSaid+10))
	if m := hear(t, ann); m.From != "bob" || m.Text != strings.Repeat("é", maxSaid) {
		t.Errorf("heard %d bytes of %s", len(m.Text), m.From)
	}
	late := enter(t, base, "")
	if m := hear(t, late); m.Text != "what is hopsack?" {
		t.Errorf("who comes in late hears %+v first", m)
	}
	s.EndStreams()
	hear(t, late)
	if _, _, err := late.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("at the end: %v, want going away", err)
	}
}

func TestRoomIsBoundedAndWaitsForNobody(t *testing.T) {
	r := newRoom()
	deaf, ok := r.enter()
	if !ok {
		t.Fatal("an empty room is full")
	}
	for range 2*maxHistory + 1 {
		r.say("ann", "hello")
	}
	n := 0
	for range deaf {
		n++
	}
	if n != 2*maxHistory {
		t.Errorf("who did not listen had %d messages before being shown out, want %d", n, 2*maxHistory)
	}
	r.leave(deaf)
	for range maxGuests {
		if _, ok := r.enter(); !ok {
			t.Fatal("full too early")
		}
	}
	if _, ok := r.enter(); ok {
		t.Error("one guest too many")
	}
}

func TestChatRefusesOtherSites(t *testing.T) {
	s := open(t, Options{})
	base, _ := serve(t, s)
	_, resp, err := websocket.Dial(context.Background(), strings.Replace(base, "http", "ws", 1)+"/chat/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{"Origin": {"https://evil.example"}},
	})
	if err == nil || resp.StatusCode != 403 {
		t.Errorf("got %v, %v, want 403", resp, err)
	}
}
