package main

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestSecretsAndValuesFromElsewhereAreSeenByNobody deploys a service with a secret
// over a file with a value of its machine.
func TestSecretsAndValuesFromElsewhereAreSeenByNobody(t *testing.T) {
	t.Parallel()
	const secret, local = "deploy-secret-value-1", "local-secret-value-2"
	var sent atomic.Pointer[http.Header]
	g := guardedNode(t, func(w http.ResponseWriter, r *http.Request) {
		sent.Store(&r.Header)
		io.WriteString(w, "next")
	})
	write(t, g.dir, "deploy.key", secret+"\n")
	write(t, g.dir, "local.key", local)
	nodeFile := filepath.Join(g.dir, "node.yaml")
	node, err := os.ReadFile(nodeFile)
	if err != nil {
		t.Fatal(err)
	}
	service := func(file, to, key string) string {
		return write(t, g.dir, file, "service: shop\nhosts: [\"*\"]\norigins: {web: {endpoints: [\""+to+"\"]}}\n"+
			"routes: [{match: {path: /*}, origin: web, headers: {request: {set: {X-Key: \""+key+"\"}}}}]\n")
	}
	service("shop.yaml", g.old.URL, "${file:local.key}")
	g.p.reloaded()
	g.p.until("the file is in the log", func() bool { return g.change(t).ID != "c-1" })
	next := service("next.yaml", g.next.URL, "Bearer ${secret:shop-key}")

	said := g.ask(t, 0, "plan", next)
	said += g.ask(t, 1, "deploy", next)
	if want := "${secret:shop-key} is not granted to service shop"; !strings.Contains(said, want) {
		t.Errorf("without a grant:\n%swant %q", said, want)
	}
	write(t, g.dir, "node.yaml", string(node)+"secrets: {shop-key: {file: deploy.key, services: [shop]}}\n")
	g.p.reloaded()
	g.visit(t)
	said += g.ask(t, 0, "deploy", "--detach", next)
	g.p.until("a client gets the canary", func() bool { return g.fromNext.Load() > 0 })
	if got := sent.Load().Get("X-Key"); got != "Bearer "+secret {
		t.Errorf("the origin was sent %q", got)
	}
	c := g.change(t)
	for _, args := range [][]string{
		{"plan", next}, {"rollout", "status"}, {"rollout", "status", "-o", "json"}, {"rollout", "show", c.ID}, {"changes"}, {"changes", "-o", "json"},
		{"status", "-o", "json"}, {"revision", "list"}, {"revision", "show", c.To}, {"revision", "show", c.From}, {"config", "show", "-c", nodeFile, next},
	} {
		out, errs, _ := ask(t, []string{"SELVAGE_DATA=" + g.data}, args...)
		said += out + errs
	}
	if want := "${file:local.key}"; !strings.Contains(said, want) {
		t.Errorf("%q was not shown:\n%s", want, said)
	}
	g.ask(t, 0, "undo", "--service", "shop")
	g.p.end()
	for _, hidden := range []string{secret, local} {
		if strings.Contains(said, hidden) || strings.Contains(g.p.stderr.String(), hidden) {
			t.Errorf("%q is in\n%s%s", hidden, said, g.p.stderr.String())
		}
		err := filepath.WalkDir(g.data, func(at string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(at)
			if bytes.Contains(data, []byte(hidden)) {
				t.Errorf("%q is in %s", hidden, at)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
