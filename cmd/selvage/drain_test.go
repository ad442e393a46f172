package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/selvage-edge/selvage/client"
)

// drainingNode starts a node that has this long for its end.
func drainingNode(t *testing.T, origin, drain string) (p *process, data string) {
	t.Helper()
	dir := folder(t)
	data = filepath.Join(dir, "data")
	node := write(t, dir, "node.yaml", `
listen: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
access_log: off
deadlines: {drain: `+drain+`}
data: `+data+"\n")
	return serveNode(t, "-c", node, service(t, dir, origin, 1)), data
}

func TestTermFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	origin := newLateOrigin(t)
	p, data := drainingNode(t, origin.URL, "10m")
	url, addr, admin := p.url(), p.addr(), p.admin()
	if _, body := get(t, http.DefaultClient, admin+"/readyz"); body != "ok\n" {
		t.Errorf("readyz before the end: got %q, want ok", body)
	}
	late := origin.askLate(t, url)
	p.signal(syscall.SIGTERM)
	p.until("readyz says draining", func() bool {
		resp, err := http.Get(admin + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == 503 && string(body) == "draining\n"
	})
	p.until("new connections are refused", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if resp, _ := get(t, http.DefaultClient, admin+"/livez"); resp.StatusCode != 200 {
		t.Errorf("livez during the drain: got %s, want 200", resp.Status)
	}
	if out, _, _ := ask(t, nil, "status", "--data", data); !strings.Contains(out, "draining, up") {
		t.Errorf("status during the drain:\n%s", out)
	}
	select {
	case got := <-late:
		t.Fatalf("the request in flight ended before its answer was there: %+v", got)
	default:
	}
	close(origin.released)
	if got := <-late; got.err != nil || got.status != 200 || got.body != "late" {
		t.Errorf("the request in flight: got %+v, want its answer", got)
	}
	p.exit(0)
	if _, err := os.Stat(filepath.Join(data, client.SocketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control socket is left behind: %v", err)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	for _, second := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		origin := newLateOrigin(t)
		p, data := drainingNode(t, origin.URL, "10m")
		late := origin.askLate(t, p.url())
		p.signal(syscall.SIGTERM)
		p.says("draining; a second signal ends at once")
		p.signal(second)
		p.exit(exitFailed)
		p.says("^selvage: ended by a second signal before the drain was over")
		if got := <-late; got.err == nil {
			t.Errorf("%v: the request in flight got %+v, want a broken connection", second, got)
		}
		if left, err := os.ReadDir(data); err != nil || len(left) != 2 || left[0].Name() != "rollouts" || left[1].Name() != "state" {
			t.Errorf("%v: left behind in the data folder: %v %v, want what is remembered", second, left, err)
		}
	}
}

func TestRequestLongerThanTheDrainIsCut(t *testing.T) {
	t.Parallel()
	origin := newLateOrigin(t)
	p, _ := drainingNode(t, origin.URL, "300ms")
	late := origin.askLate(t, p.url())
	p.signal(syscall.SIGTERM)
	p.exit(0)
	p.says(`requests were cut at the end of the drain" deadline=300ms`)
	if got := <-late; got.err == nil && got.status == 200 {
		t.Errorf("the request in flight got %+v, want none or a failure", got)
	}
}

func TestWebSocketLastsUntilTheEndOfTheDrain(t *testing.T) {
	t.Parallel()
	const drain = 2 * time.Second
	p, _ := drainingNode(t, busyOrigin(t).URL, drain.String())
	ws, _, err := websocket.Dial(t.Context(), p.url()+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	echo(t, ws, "before")
	began := time.Now() // no later than the drain does
	p.signal(syscall.SIGTERM)
	p.says("draining")
	const said = "while it drains"
	err = ws.Write(t.Context(), websocket.MessageText, []byte(said))
	if _, got, failed := ws.Read(t.Context()); err == nil && failed == nil {
		if string(got) != said {
			t.Errorf("while it drains: got %q, want %q", got, said)
		}
		if _, _, err = ws.Read(t.Context()); err == nil {
			t.Error("the WebSocket had a message that nobody sent")
		}
	}
	// Where all of it took longer than the drain nothing came back, which is right.
	if lasted := time.Since(began); lasted < drain {
		t.Errorf("the WebSocket was ended after %v of a drain of %v: %v", lasted, drain, err)
	}
	p.exit(0)
}

// TestInterruptedDownloadIsSeen: what is cut must not look whole.
func TestInterruptedDownloadIsSeen(t *testing.T) {
	t.Parallel()
	p, _ := drainingNode(t, busyOrigin(t).URL, "300ms")
	resp, err := http.Get(p.url() + "/download")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGTERM)
	p.exit(0) // the client does not read meanwhile
	if _, err := io.Copy(io.Discard, resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the download ended with %v, want to see that it is not whole", err)
	}
}
