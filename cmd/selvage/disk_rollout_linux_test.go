package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/selvage-edge/selvage/client"
)

// The disk of the data folder fills up in the middle of a rollout, and only then the
// canary turns bad: the node takes it back all the same, requests go on, a deploy is
// refused, and with room again the log says what happened.
func TestFullDiskInARolloutKeepsNoBadCanary(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	small := filepath.Join(dir, "s")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	inside := func(script string, args ...string) *exec.Cmd {
		cmd := exec.Command("unshare", append([]string{"--user", "--map-root-user", "--mount", "sh", "-c",
			"mount -t tmpfs -o size=100m none " + small + " && " + script, "sh"}, args...)...)
		cmd.Env = command().Env
		return cmd
	}
	if out, err := inside("true").CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted here: %v %s", err, out)
	}
	var bad atomic.Bool
	g := &guarded{dir: dir}
	g.old = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "old") }))
	g.next = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if bad.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		io.WriteString(w, "next")
	}))
	t.Cleanup(func() { g.old.Close(); g.next.Close() })
	shop := func(file string, s *httptest.Server) string {
		return write(t, dir, file, fmt.Sprintf("service: shop\nhosts: [\"*\"]\norigins: {web: {endpoints: [%q]}}\nroutes: [{match: {path: /*}, origin: web}]\n", s.URL))
	}
	node := write(t, dir, "node.yaml", "name: ams-1\npop: ams\ntrusted_proxies: [127.0.0.0/8]\naccess_log: \"off\"\n"+
		"listen: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"off\"}\ndata: "+small+"/d\n")
	next := shop("next.yaml", g.next)
	g.p = start(t, inside(`exec selvage run -c "$1" "$2"`, node, shop("shop.yaml", g.old)))
	g.p.says(`serving +http`)
	mounted := filepath.Join("/proc", fmt.Sprint(g.p.cmd.Process.Pid), "root", small) // seen from outside
	g.data = filepath.Join(mounted, "d")
	g.p.until("the file is in the log", func() bool { return strings.Contains(g.ask(t, 0, "changes"), "c-1 ") })
	g.visit(t)
	g.ask(t, 0, "deploy", "--detach", next)
	g.p.until("a client gets the canary", func() bool { return g.fromNext.Load() > 0 })
	fill, err := os.Create(filepath.Join(mounted, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 64<<10))
	}
	fill.Close()
	bad.Store(true)
	g.p.until("nobody gets the canary", func() bool {
		had := g.bad.Load()
		for range 50 {
			if _, body := get(t, http.DefaultClient, g.p.url()+"/"); body != "old" {
				return false
			}
		}
		return g.bad.Load() == had
	})
	g.ask(t, 1, "deploy", "--detach", next)
	if err := os.Remove(fill.Name()); err != nil {
		t.Fatal(err)
	}
	g.p.until("the log says so", func() bool {
		out, _, status := ask(t, []string{"SELVAGE_DATA=" + g.data}, "changes")
		return status == 0 && strings.Contains(out, client.Undone)
	})
	for id, events := range g.logged(t, one) {
		if len(events) != 1 {
			t.Errorf("%s: %v", id, events)
		}
	}
	g.p.end()
}
