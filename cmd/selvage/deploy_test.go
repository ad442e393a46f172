package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/client"
)

// guarded is a node with a service, a file for what it may become, and clients.
type guarded struct {
	p             *process
	dir, data     string
	args          []string
	old, next     *httptest.Server
	fromNext, bad atomic.Int64
}

// guardedNode serves "old"; next.yaml, which nobody has deployed, is answered by next.
func guardedNode(t *testing.T, next http.HandlerFunc) *guarded {
	t.Helper()
	return guardedBy(t, next, "", func(g *guarded, isNext bool) string {
		s := g.old
		if isNext {
			s = g.next
		}
		return fmt.Sprintf("origins: {web: {endpoints: [%q]}}\n", s.URL)
	})
}

// guardedBy is guardedNode with a node file that says more, and service files that
// differ by what is given.
func guardedBy(t *testing.T, next http.HandlerFunc, node string, service func(g *guarded, isNext bool) string) *guarded {
	t.Helper()
	g := &guarded{dir: folder(t)}
	g.data = filepath.Join(g.dir, "data")
	g.old = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "old") }))
	g.next = httptest.NewServer(next)
	t.Cleanup(func() { g.old.Close(); g.next.Close() })
	shop := func(file string, isNext bool) string {
		return write(t, g.dir, file, "service: shop\nhosts: [\"*\"]\nroutes: [{match: {path: /*}, origin: web}]\n"+service(g, isNext))
	}
	if !strings.Contains(node, "listen:") {
		node += "listen: [{address: \"127.0.0.1:0\"}]\n"
	}
	node = write(t, g.dir, "node.yaml", "name: ams-1\npop: ams\ntrusted_proxies: [127.0.0.0/8]\naccess_log: \"off\"\n"+
		"admin: {address: \"127.0.0.1:0\"}\ndata: data\n"+node)
	shop("next.yaml", true)
	g.args = []string{"-c", node, shop("shop.yaml", false)}
	g.p = serveNode(t, g.args...)
	g.p.until("the file is in the log", func() bool { return strings.Contains(g.ask(t, 0, "changes"), "c-1 ") })
	return g
}

// ask asks the node and wants an exit status.
func (g *guarded) ask(t *testing.T, want int, args ...string) string {
	t.Helper()
	out, stderr, status := ask(t, []string{"SELVAGE_DATA=" + g.data}, args...)
	if status != want {
		t.Fatalf("%v: exit status %d, want %d\n%s%s", args, status, want, out, stderr)
	}
	return out
}

// visit lets many clients come in until the test ends or stop is called.
func (g *guarded) visit(t *testing.T) (stop func()) {
	t.Helper()
	url := g.p.url()
	return visitors(t, func(ctx context.Context, address string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/", nil)
		if err != nil {
			return
		}
		req.Header.Set("X-Forwarded-For", address)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return // the node is away
		}
		body, _ := io.ReadAll(resp.Body) // what is broken is not "next"
		resp.Body.Close()
		if string(body) == "next" {
			g.fromNext.Add(1)
		}
		if resp.StatusCode >= 500 {
			g.bad.Add(1)
		}
	})
}

// visitors lets clients come four at a time, each with an address of its own, until the
// test ends or stop is called.
func visitors(t *testing.T, come func(ctx context.Context, address string)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var n atomic.Int64
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				i := n.Add(1)
				come(ctx, fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255))
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	stop = func() { cancel(); clients.Wait() }
	t.Cleanup(stop)
	return stop
}

func (g *guarded) change(t *testing.T) client.Change {
	t.Helper()
	c, err := client.Find(g.data)
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.Changes(t.Context(), "", "", 1)
	if err != nil || len(list.Changes) == 0 {
		t.Fatalf("%v: %v", err, list)
	}
	return list.Changes[0]
}

func TestBadDeployIsUndoneByItself(t *testing.T) {
	t.Parallel()
	g := guardedNode(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	if out := g.ask(t, 0, "plan", filepath.Join(g.dir, "next.yaml")); !strings.Contains(out, "origin web") || !strings.Contains(out, "endpoints") {
		t.Errorf("plan said\n%s", out)
	}
	stop := g.visit(t)
	out := g.ask(t, 1, "deploy", filepath.Join(g.dir, "next.yaml"), "-m", "a bad one")
	for _, want := range []string{" planned shop ", " ready 1 of 1 nodes", " undone after "} {
		if !strings.Contains(out, want) {
			t.Errorf("deploy said\n%swant %q in it", out, want)
		}
	}
	stop()
	if g.bad.Load() == 0 || g.bad.Load() > 200 {
		t.Errorf("%d bad answers reached clients, want few", g.bad.Load())
	}
	if _, body := get(t, http.DefaultClient, g.p.url()+"/"); body != "old" {
		t.Errorf("afterwards: %q", body)
	}
	c := g.change(t)
	if c.State != client.Undone || c.Why != "a bad one" || c.Who == "" {
		t.Errorf("in the log: %+v", c)
	}
	if out := g.ask(t, 0, "rollout", "show", c.ID); !strings.Contains(out, "UNDONE after") || !strings.Contains(out, "origin 5xx") {
		t.Errorf("receipt:\n%s", out)
	}
	if out := g.ask(t, 0, "changes", "--verify"); !strings.HasPrefix(out, "the log is whole: ") {
		t.Errorf("verify: %s", out)
	}
	g.ask(t, 0, "undo", c.ID)                                  // it is undone already: once more changes nothing
	g.ask(t, 1, "deploy", filepath.Join(g.dir, "nobody.yaml")) // there is none
	g.ask(t, 2, "deploy")
}

func TestTokensOfRolesComeInAtTheAdminAddress(t *testing.T) {
	t.Parallel()
	g := guardedNode(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "next") })
	looks := strings.TrimSpace(g.ask(t, 0, "token", "create", "vera"))
	leads := strings.TrimSpace(g.ask(t, 0, "token", "create", "otto", "--role", "operator"))
	remote := func(token string, want int, args ...string) string {
		t.Helper()
		out, stderr, status := ask(t, []string{"SELVAGE_TOKEN=" + token, "SELVAGE_ADDRESS=" + g.p.admin()}, args...)
		if status != want {
			t.Errorf("%v: exit status %d, want %d\n%s%s", args, status, want, out, stderr)
		}
		return out + stderr
	}
	next := filepath.Join(g.dir, "next.yaml")
	remote(looks, 0, "rollout", "status")
	remote(looks, 0, "plan", next)
	if said := remote(looks, 1, "deploy", next); !strings.Contains(said, "the role operator is needed for this, vera is viewer") {
		t.Errorf("a viewer's deploy: %s", said)
	}
	remote(leads, 0, "deploy", "--detach", next)
	if c := g.change(t); c.Who != "otto" {
		t.Errorf("who: %q", c.Who)
	}
	if out := remote(leads, 0, "revision", "list", "-o", "json"); strings.Count(out, `"id"`) != 2 {
		t.Errorf("revisions: %s", out)
	}
	remote(leads, 0, "undo", "--service", "shop")
	remote(leads, 1, "token", "list")
	g.ask(t, 0, "token", "revoke", "otto")
	if said := remote(leads, 1, "rollout", "status"); !strings.Contains(said, "does not know the token") {
		t.Errorf("after the revocation: %s", said)
	}
}
