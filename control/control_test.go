package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type still struct{ unready error }

func (s still) Status() client.Status {
	return client.Status{Version: "1.2.3", Node: "ams-1", State: "ready", Services: []client.Service{{Service: "shop", Tier: 1}}}
}
func (s still) Ready() error { return s.unready }
func (s still) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "selvage_up 1\n") })
}

func sha(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func testServer(t testing.TB, admin selvage.Admin) *Server {
	t.Helper()
	return &Server{
		Node: still{}, Admin: admin, Data: t.TempDir(), Version: "1.2.3", Log: slog.New(slog.DiscardHandler),
	}
}

func TestAdminAddressGuardsWhatItShows(t *testing.T) {
	s := testServer(t, selvage.Admin{Address: "127.0.0.1:9440", OpenMetrics: "auto", Tokens: []string{sha("right")}})
	h := s.remote()
	for _, tt := range []struct {
		name, method, path, host, token, origin string
		want                                    int
	}{
		{"livez is open", "GET", "/livez", "127.0.0.1:9440", "", "", 200},
		{"readyz is open", "GET", "/readyz", "localhost:9440", "", "", 200},
		{"metrics are open on loopback", "GET", "/metrics", "127.0.0.1:9440", "", "", 200},
		{"status needs a token", "GET", "/v1/status", "127.0.0.1:9440", "", "", 401},
		{"profiles need a token", "GET", "/debug/pprof/", "127.0.0.1:9440", "", "", 401},
		{"a wrong token is refused", "GET", "/v1/status", "127.0.0.1:9440", "wrong", "", 401},
		{"a scheme has no case", "GET", "/v1/status", "127.0.0.1:9440", "bearer right", "", 200},
		{"the right token is let in", "GET", "/v1/status", "127.0.0.1:9440", "right", "", 200},
		{"the description needs a token", "GET", "/openapi.json", "127.0.0.1:9440", "", "", 401},
		{"the description is there", "GET", "/openapi.json", "127.0.0.1:9440", "right", "", 200},
		{"a name of another site is refused", "GET", "/metrics", "evil.example", "right", "", 421},
		{"a wrong method is told", "PUT", "/v1/status", "127.0.0.1:9440", "right", "", 405},
		{"what nobody may know is refused first", "GET", "/nowhere", "127.0.0.1:9440", "", "", 401},
		{"writing from another site is refused", "POST", "/v1/status", "127.0.0.1:9440", "right", "https://evil.example", 403},
		{"what is not there is a problem", "GET", "/nowhere", "127.0.0.1:9440", "right", "", 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, nil)
			r.Host = tt.host
			if tt.token != "" {
				if !strings.Contains(tt.token, " ") {
					tt.token = "Bearer " + tt.token
				}
				r.Header.Set("Authorization", tt.token)
			}
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("%s %s: got %d %s, want %d", tt.method, tt.path, w.Code, w.Body, tt.want)
			}
			if w.Code == 401 || w.Code == 404 || w.Code == 421 {
				var p client.Problem
				if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Detail == "" {
					t.Errorf("not a problem of RFC 9457: %v %s", err, w.Body)
				}
			}
		})
	}
}

func TestMetricsNeedATokenOffLoopback(t *testing.T) {
	for _, tt := range []struct {
		address, open string
		want          int
	}{
		{"0.0.0.0:9440", "auto", 401}, {":9440", "auto", 401}, {"[::1]:9440", "auto", 200},
		{"0.0.0.0:9440", "yes", 200}, {"127.0.0.1:9440", "no", 401},
	} {
		s := testServer(t, selvage.Admin{Address: tt.address, OpenMetrics: tt.open})
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Host = "192.0.2.1:9440"
		w := httptest.NewRecorder()
		s.remote().ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("address %s, open_metrics %s: got %d, want %d", tt.address, tt.open, w.Code, tt.want)
		}
	}
}

func TestUnreadySaysWhy(t *testing.T) {
	s := testServer(t, selvage.Admin{})
	s.Node = still{errors.New("draining")}
	w := httptest.NewRecorder()
	s.local().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "draining") {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
}

func TestClientFindsTheNodeByItsSocket(t *testing.T) {
	s := testServer(t, selvage.Admin{Address: "off"})
	path := filepath.Join(s.Data, client.SocketName)
	if err := os.WriteFile(path, nil, 0o644); err != nil { // as after a process that was killed
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v, want only its owner to reach it", info.Mode(), err)
	}
	c, err := client.Find(t.TempDir(), s.Data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := still{}.Status()
	if d := cmp.Diff(&want, got); d != "" {
		t.Errorf("status (-want +got):\n%s", d)
	}
	second := testServer(t, selvage.Admin{Address: "off"})
	second.Data = s.Data
	if err := second.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to a node that runs") {
		t.Errorf("a second node in the same data folder: got %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket is left behind: %v", err)
	}
	if _, err := client.Find(s.Data); err == nil || !strings.Contains(err.Error(), "no node runs here") {
		t.Errorf("find without a node: got %v", err)
	}
}

func TestWhatCannotBeHadIsSaidBeforeAnythingIsServed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := testServer(t, selvage.Admin{Address: taken.Addr().String()})
	if err := s.Open(t.Context()); !errors.Is(err, syscall.EADDRINUSE) || !strings.HasPrefix(err.Error(), "admin address "+s.Admin.Address) {
		t.Errorf("admin address in use: got %v", err)
	}
	if left, _ := os.ReadDir(s.Data); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	s.Admin.Address = "127.0.0.1:0"
	if err := s.Open(t.Context()); err != nil {
		t.Errorf("open again: %v", err)
	}
	if s.AdminAddr() == nil {
		t.Error("the admin address is not told")
	}
	s.Close()
	deep := testServer(t, selvage.Admin{Address: "off"})
	deep.Data = filepath.Join(deep.Data, strings.Repeat("deep/", 25))
	if err := os.MkdirAll(deep.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := deep.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "name a shorter folder") {
		t.Errorf("a path that is too long for a socket: got %v", err)
	}
}

func TestClientSaysWhatTheNodeRefused(t *testing.T) {
	s := testServer(t, selvage.Admin{Address: "127.0.0.1:0"})
	srv := httptest.NewServer(s.remote())
	defer srv.Close()
	c, err := client.New(client.Options{Address: srv.URL, Token: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(t.Context())
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != 401 || !strings.Contains(p.Detail, "token") {
		t.Errorf("got %v, want the problem that a token is needed", err)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
