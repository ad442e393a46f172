package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/client"
)

// seat is somebody at a terminal who watches c-7.
type seat struct {
	t      *testing.T
	outer  *os.File
	texts  chan string
	seen   string
	status chan int
}

// watching sits somebody down. undo is what the node does when it is asked for one.
func watching(t *testing.T, terminalName string, undo func()) *seat {
	t.Helper()
	t.Setenv("TERM", terminalName)
	outer, inner := terminal(t)
	stdin := os.Stdin
	os.Stdin = inner
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			undo()
			fmt.Fprint(w, "{}")
			return
		}
		data, err := json.Marshal(client.Progress{Event: client.Watching, Rollout: client.Rollout{Change: client.Change{ID: "c-7", State: client.Watching}}})
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: progress\ndata: %s\n\n", data)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	c, err := client.New(client.Options{Address: node.URL})
	if err != nil {
		t.Fatal(err)
	}
	s := &seat{t: t, outer: outer, texts: make(chan string, 1000), status: make(chan int, 1)}
	go func() { // it ends with the terminal
		buf := make([]byte, 4096)
		for {
			n, err := outer.Read(buf)
			if err != nil {
				return
			}
			s.texts <- string(buf[:n])
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		status, err := watcher{c: c, out: inner, errs: inner, format: "text"}.follow(t.Context(), client.Of{Change: "c-7"})
		if err != nil {
			t.Error(err)
		}
		s.status <- status
	}()
	t.Cleanup(func() {
		<-ended
		os.Stdin = stdin
		inner.Close()
		node.Close()
	})
	return s
}

// sees waits for a text on the screen.
func (s *seat) sees(text string) {
	s.t.Helper()
	timeout := time.After(time.Minute)
	for !strings.Contains(s.seen, text) {
		select {
		case more := <-s.texts:
			s.seen += more
		case <-timeout:
			s.t.Fatalf("%q is not on the screen: %q", text, s.seen)
		}
	}
}

func (s *seat) presses(keys string) {
	s.t.Helper()
	if _, err := s.outer.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// A node that was asked to undo may be gone: who presses Ctrl-C then leaves at once, and who
// presses q when it has answered.
func TestKeysAreHeardWhileTheNodeDoesNotAnswer(t *testing.T) {
	for key, want := range map[string]int{"q": 0, "\x03": exitFailed, "qu\x03": exitFailed} {
		asked, over := make(chan struct{}), make(chan struct{})
		s := watching(t, "xterm", func() { close(asked); <-over })
		s.sees("leave it running")
		s.presses("u")
		<-asked
		s.presses(key)
		if key == "q" {
			close(over)
		}
		s.sees("c-7 goes on by itself")
		if got := <-s.status; got != want || strings.Contains(s.seen, "ask the node") {
			t.Errorf("key %q: status %d, want %d; on the screen: %q", key, got, want, s.seen)
		}
		if key != "q" {
			close(over)
		}
	}
}

func TestWhereNothingCanBeDrawnOverThereAreLines(t *testing.T) {
	for name, drawn := range map[string]bool{"dumb": false, "xterm": true} {
		t.Run(name, func(t *testing.T) {
			s := watching(t, name, func() {})
			s.sees("c-7")
			if !drawn {
				s.sees("watching to_undo=")
			} else {
				s.sees("leave it running")
				s.presses("q")
				<-s.status
			}
			if got := strings.Contains(s.seen, "leave it running"); got != drawn {
				t.Errorf("with keys to press: %t, want %t: %q", got, drawn, s.seen)
			}
		})
	}
}
