package shop

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// The bounds of the room.
const (
	maxGuests  = 200
	maxSaid    = 500 // characters of one message
	maxHistory = 20
)

// Said is one message in the room.
type Said struct {
	From string    `json:"from"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// room is where people talk. What was said last is told to who comes in.
type room struct {
	mu      sync.Mutex // guards what follows
	guests  map[chan []byte]struct{}
	history [][]byte
}

func newRoom() *room { return &room{guests: map[chan []byte]struct{}{}} }

// enter is false if the room is full.
func (r *room) enter() (heard chan []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.guests) >= maxGuests {
		return nil, false
	}
	heard = make(chan []byte, 2*maxHistory)
	for _, m := range r.history {
		heard <- m
	}
	r.guests[heard] = struct{}{}
	return heard, true
}

func (r *room) leave(heard chan []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropLocked(heard)
}

// dropLocked closes a guest's channel, once.
func (r *room) dropLocked(heard chan []byte) {
	if _, ok := r.guests[heard]; ok {
		delete(r.guests, heard)
		close(heard)
	}
}

// say tells all. Who does not listen is shown out.
func (r *room) say(from, text string) {
	m, err := json.Marshal(Said{from, text, time.Now().UTC()})
	if err != nil {
		return // no text of a client's is so bad that it could not be quoted
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, m)
	if len(r.history) > maxHistory {
		r.history = r.history[1:]
	}
	for heard := range r.guests {
		select {
		case heard <- m:
		default:
			r.dropLocked(heard)
		}
	}
}

// chatSocket is one guest's connection (RFC 6455). A text message is what the
// guest says; one comes back to all, as JSON.
func (s *Shop) chatSocket(w http.ResponseWriter, r *http.Request) {
	heard, ok := s.room.enter()
	if !ok {
		refuse(w, http.StatusServiceUnavailable, "The room is full.")
		return
	}
	defer s.room.leave(heard)
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(4 * maxSaid)
	name := strings.TrimSpace(r.URL.Query().Get("name"))
	if name == "" || len(name) > 40 {
		name = "somebody"
	}
	ctx, cancel := context.WithCancel(r.Context())
	var writer sync.WaitGroup
	writer.Go(func() { s.tell(ctx, c, heard); cancel() })
	for {
		kind, text, err := c.Read(ctx)
		if err != nil || kind != websocket.MessageText {
			break
		}
		if said := clip(string(text)); said != "" {
			s.room.say(name, said)
		}
	}
	cancel()
	writer.Wait()
}

// tell writes what is heard, until the guest or the shop goes.
func (s *Shop) tell(ctx context.Context, c *websocket.Conn, heard chan []byte) {
	for {
		select {
		case m, ok := <-heard:
			if !ok {
				_ = c.Close(websocket.StatusPolicyViolation, "too slow")
				return
			}
			if err := write(ctx, c, m); err != nil {
				return
			}
		case <-ctx.Done():
			return
		case <-s.ended:
			_ = c.Close(websocket.StatusGoingAway, "the shop closes")
			return
		}
	}
}

func write(ctx context.Context, c *websocket.Conn, m []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return c.Write(ctx, websocket.MessageText, m)
}

// clip is what is told of what somebody said.
func clip(s string) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, ""))
	if r := []rune(s); len(r) > maxSaid {
		return string(r[:maxSaid])
	}
	return s
}
