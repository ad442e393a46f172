package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/client"
)

// seat is somebody at a terminal.
type seat struct {
	t      *testing.T
	outer  *os.File
	texts  chan string
	seen   string
	status chan int
}

// sits sits somebody down where a command runs, which asks a node at an address.
func sits(t *testing.T, terminalName string, node http.Handler, run func(terminal *os.File, address string) int) *seat {
	t.Helper()
	t.Setenv("TERM", terminalName)
	outer, inner := terminal(t)
	stdin := os.Stdin
	os.Stdin = inner
	server := httptest.NewServer(node)
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
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.status <- run(inner, server.URL)
	}()
	t.Cleanup(func() {
		<-over
		os.Stdin = stdin
		inner.Close()
		server.Close()
	})
	return s
}

// tells tells that a change is under way, and no more.
func tells(w http.ResponseWriter, r *http.Request) {
	data, err := json.Marshal(client.Progress{Event: client.Watching, Rollout: client.Rollout{Change: client.Change{ID: "c-7", State: client.Watching}}})
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "event: progress\ndata: %s\n\n", data)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// watching sits somebody down who watches c-7. undo is what the node does when it is asked for one.
func watching(t *testing.T, terminalName string, undo func()) *seat {
	t.Helper()
	return sits(t, terminalName, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			tells(w, r)
			return
		}
		undo()
		fmt.Fprint(w, "{}")
	}), func(terminal *os.File, address string) int {
		c, err := client.New(client.Options{Address: address})
		if err != nil {
			t.Error(err)
			return exitFailed
		}
		status, err := watcher{c: c, out: terminal, errs: terminal, format: "text", keyboard: new(keyboard)}.follow(t.Context(), client.Of{Change: "c-7"})
		if err != nil {
			t.Error(err)
		}
		return status
	})
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
	for key, want := range map[string]int{"q": 0, "\x03": notWatched, "qu\x03": notWatched} {
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

// deploying sits somebody down who deploys two services, one after the other. It counts the changes.
func deploying(t *testing.T) (s *seat, submitted *atomic.Int64) {
	t.Helper()
	dir := folder(t)
	for _, name := range []string{"one", "two"} {
		write(t, dir, name+".yaml", fmt.Sprintf("service: %s\nhosts: [%s.example]\nroutes: [{match: {path: /*}, redirect: {to: /x}}]\n", name, name))
	}
	submitted = new(atomic.Int64)
	return sits(t, "xterm", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			fmt.Fprintf(w, `{"id": "c-%d"}`, submitted.Add(1))
		case http.MethodGet:
			tells(w, r)
		}
	}), func(terminal *os.File, address string) int {
		cmd := deployCommand()
		cmd.SetOut(terminal)
		cmd.SetErr(terminal)
		cmd.SetArgs([]string{"--address", address, dir})
		err := cmd.ExecuteContext(t.Context())
		if said, ok := errors.AsType[*saidError](err); ok {
			return said.status
		}
		return 0
	}), submitted
}

// Who presses Ctrl-C wants no more of it.
func TestCtrlCDeploysNoMoreOfSeveralServices(t *testing.T) {
	s, submitted := deploying(t)
	s.sees("leave it running")
	s.presses("\x03")
	if got := <-s.status; got != exitFailed || submitted.Load() != 1 {
		t.Errorf("status %d and %d changes, want %d and 1", got, submitted.Load(), exitFailed)
	}
}

// A read of a terminal cannot be ended: the first one's must not take what is typed for the second.
func TestEveryOneOfSeveralDeploysHearsItsFirstKey(t *testing.T) {
	s, submitted := deploying(t)
	for range 2 {
		s.sees("leave it running")
		s.presses("q")
		s.sees("goes on by itself")
		_, s.seen, _ = strings.Cut(s.seen, "goes on by itself")
	}
	if got := <-s.status; got != 0 || submitted.Load() != 2 {
		t.Errorf("status %d and %d changes, want 0 and 2", got, submitted.Load())
	}
}

func TestAKeyThatWasTypedBeforeIsNotHeard(t *testing.T) {
	outer, inner := terminal(t)
	key := make([]byte, 1)
	if _, err := outer.WriteString("u"); err != nil {
		t.Fatal(err)
	}
	if _, err := outer.Read(key); err != nil || key[0] != 'u' { // the terminal has it, and shows it
		t.Fatalf("echo %q, %v", key, err)
	}
	if _, err := makeRaw(int(inner.Fd())); err != nil {
		t.Fatal(err)
	}
	if _, err := outer.WriteString("h"); err != nil {
		t.Fatal(err)
	}
	if _, err := inner.Read(key); err != nil || key[0] != 'h' {
		t.Errorf("heard %q, %v", key, err)
	}
}

func TestWhatIsTypedWhileNothingIsWatchedIsLost(t *testing.T) {
	from, typist := io.Pipe()
	k := new(keyboard)
	typed, deaf := k.listen(from)
	typing := func(key string) {
		if _, err := typist.Write([]byte(key)); err != nil { // it ends when the key was read
			t.Error(err)
		}
	}
	typing("u")
	if key := <-typed; key != 'u' {
		t.Errorf("heard %q", key)
	}
	deaf()
	typing("u")
	typing("u") // now the one before is gone
	typed, deaf = k.listen(from)
	defer deaf()
	typist.Close()
	var heard []byte
	for key := range typed {
		heard = append(heard, key)
	}
	if len(heard) > 1 { // the last one may have been on its way
		t.Errorf("heard %q", heard)
	}
	if _, open := <-func() <-chan byte { typed, _ := k.listen(from); return typed }(); open {
		t.Error("a keyboard that is gone is heard")
	}
}
