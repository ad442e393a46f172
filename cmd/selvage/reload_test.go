package main

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// bulk is what goes up and down while the node reloads.
func bulk() int64 {
	if testing.Short() {
		return 64 << 20
	}
	return 1 << 30
}

// pattern is n bytes that repeat with no power of two, so that a lost, doubled
// or moved block changes the checksum.
func pattern(n int64) io.Reader { return io.LimitReader(new(patternReader), n) }

type patternReader struct{ at int }

var patternBytes = func() []byte {
	b := make([]byte, 1<<20-3)
	for i := range b {
		b[i] = byte(i*7 + i>>9)
	}
	return b
}()

func (p *patternReader) Read(b []byte) (int, error) {
	n := copy(b, patternBytes[p.at:])
	p.at = (p.at + n) % len(patternBytes)
	return n, nil
}

func sum(r io.Reader) (string, error) {
	h := crc32.NewIEEE()
	n, err := io.Copy(h, r)
	return fmt.Sprintf("%d bytes, checksum %08x", n, h.Sum32()), err
}

// busyOrigin takes uploads, gives downloads, ticks events and echoes WebSockets.
func busyOrigin(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /upload", func(w http.ResponseWriter, r *http.Request) {
		s, err := sum(r.Body)
		fmt.Fprint(w, s, err)
	})
	mux.HandleFunc("GET /download", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(bulk()))
		_, _ = io.Copy(w, pattern(bulk()))
	})
	mux.HandleFunc("GET /small", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "small") })
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; r.Context().Err() == nil; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, msg, err := c.Read(context.Background())
			if err != nil || c.Write(context.Background(), kind, msg) != nil {
				return
			}
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

// running is a node whose service file is written anew.
type running struct {
	*process
	base, dir, origin string
}

func startRunning(t *testing.T, origin string) *running {
	t.Helper()
	dir := folder(t)
	p := serveNode(t, "--listen", "127.0.0.1:0", "--admin", "off", "--data", filepath.Join(dir, "data"), service(t, dir, origin, 0))
	return &running{p, p.url(), dir, origin}
}

// reload writes the next revision, signals, and waits until it answers.
func (r *running) reload(client *http.Client, revision int) {
	r.t.Helper()
	service(r.t, r.dir, r.origin, revision)
	r.signal(syscall.SIGHUP)
	r.until("the next revision answers", func() bool {
		resp, _ := get(r.t, client, r.base+"/small")
		return resp.Header.Get("X-Revision") == fmt.Sprint(revision)
	})
}

// TestReloadDropsNothing: a WebSocket, an event stream, an upload, a download
// and a crowd of small requests go on while the node reloads ten times.
func TestReloadDropsNothing(t *testing.T) {
	origin := busyOrigin(t)
	r := startRunning(t, origin.URL)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	want, err := sum(pattern(bulk()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { upload(t, client, r.base, want+"<nil>") })
	wg.Go(func() { download(t, client, r.base, want) })
	small := crowd(ctx, t, &wg, client, r.base)
	events := listenEvents(ctx, t, &wg, client, r.base)
	ws, _, err := websocket.Dial(t.Context(), r.base+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	for revision := 1; revision <= 10; revision++ {
		r.reload(client, revision)
		before := events.Load()
		echo(t, ws, fmt.Sprintf("after reload %d", revision))
		r.until("an event comes after the reload", func() bool { return events.Load() > before })
	}
	if err := ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("close the WebSocket: %v", err)
	}
	stop()
	wg.Wait()
	t.Logf("%d small requests, %d events", small.Load(), events.Load())
	if small.Load() == 0 {
		t.Error("no small request was answered")
	}
	r.end()
}

func upload(t *testing.T, client *http.Client, base, want string) {
	req, err := http.NewRequest("PUT", base+"/upload", pattern(bulk()))
	if err != nil {
		t.Error(err)
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Errorf("upload: %v", err)
		return
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); string(got) != want {
		t.Errorf("upload: got %q %v, want %q", got, err, want)
	}
}

func download(t *testing.T, client *http.Client, base, want string) {
	resp, err := client.Get(base + "/download")
	if err != nil {
		t.Errorf("download: %v", err)
		return
	}
	defer resp.Body.Close()
	if got, err := sum(resp.Body); err != nil || got != want {
		t.Errorf("download: got %s %v, want %s", got, err, want)
	}
}

// crowd asks for small pages on four connections until ctx ends. Not one may fail.
func crowd(ctx context.Context, t *testing.T, wg *sync.WaitGroup, client *http.Client, base string) *atomic.Int64 {
	answered := new(atomic.Int64)
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				resp, err := client.Get(base + "/small")
				if err != nil {
					t.Errorf("small request: %v", err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || string(body) != "small" {
					t.Errorf("small request: %d %q %v", resp.StatusCode, body, err)
					return
				}
				answered.Add(1)
				time.Sleep(time.Millisecond)
			}
		})
	}
	return answered
}

// listenEvents reads one stream until ctx ends. The numbers must have no gap.
func listenEvents(ctx context.Context, t *testing.T, wg *sync.WaitGroup, client *http.Client, base string) *atomic.Int64 {
	seen := new(atomic.Int64)
	req, err := http.NewRequestWithContext(ctx, "GET", base+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		defer resp.Body.Close()
		scan := bufio.NewScanner(resp.Body)
		for scan.Scan() {
			if line := scan.Text(); line != "" {
				if want := fmt.Sprintf("data: %d", seen.Load()); line != want {
					t.Errorf("event: got %q, want %q", line, want)
					return
				}
				seen.Add(1)
			}
		}
		if ctx.Err() == nil {
			t.Errorf("the event stream ended: %v", scan.Err())
		}
	})
	return seen
}

func echo(t *testing.T, ws *websocket.Conn, msg string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := ws.Write(ctx, websocket.MessageText, []byte(msg)); err != nil {
		t.Fatalf("%s: %v", msg, err)
	}
	if _, got, err := ws.Read(ctx); err != nil || !strings.EqualFold(string(got), msg) {
		t.Fatalf("WebSocket: got %q %v, want %q", got, err, msg)
	}
}
