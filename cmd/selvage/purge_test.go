package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/client"
)

// taggedOrigin counts its answers, which have the tag of their path.
func taggedOrigin(t *testing.T) *httptest.Server {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Surrogate-Key", "all "+strings.Trim(r.URL.Path, "/"))
		w.Header().Set("Cache-Control", "max-age=1000")
		fmt.Fprint(w, n.Add(1))
	}))
	t.Cleanup(s.Close)
	return s
}

func taggedNode(t *testing.T) (p *process, data string) {
	t.Helper()
	dir := folder(t)
	data = filepath.Join(dir, "data")
	shop := write(t, dir, "shop.yaml", `service: shop
hosts: ["*"]
origins: {web: {endpoints: ["`+taggedOrigin(t).URL+`"]}}
routes: [{match: {path: /*}, origin: web, cache: {ttl: 60s}}]
`)
	return serveNode(t, "--listen", "127.0.0.1:0", "--admin", "off", "--data", data, shop), data
}

func TestPurgeIsAppliedWhenTheReceiptIsThere(t *testing.T) {
	t.Parallel()
	p, data := taggedNode(t)
	stored := func(path string) string {
		t.Helper()
		body := ""
		p.until("it is stored", func() bool {
			resp, b := get(t, http.DefaultClient, p.url()+path)
			body = b
			return strings.Contains(resp.Header.Get("Cache-Status"), "hit")
		})
		return body
	}
	for _, tt := range []struct {
		args []string
		gone bool
	}{
		{[]string{"tag:red"}, true},
		{[]string{"tag:blue", "tag:green"}, false},
		{[]string{"tag:blue", "tag:red", "--soft"}, true}, // stale, and nothing allows that
		{[]string{p.url() + "/red"}, true},
		{[]string{p.url() + "/blue"}, false},
		{[]string{"service:shop"}, true},
		{[]string{"--service", "shop", "tag:all"}, true},
		{[]string{"--preview", "tag:all"}, false},
	} {
		before := stored("/red")
		out, stderr, status := ask(t, nil, append([]string{"purge", "--data", data, "--timeout", "60s"}, tt.args...)...)
		if status != 0 {
			t.Fatalf("purge %v: exit status %d\n%s%s", tt.args, status, out, stderr)
		}
		want := "applied on 1 of 1 node in "
		if tt.args[0] == "--preview" {
			want = "1 object, "
		}
		if !strings.Contains(out, want) {
			t.Errorf("purge %v said\n%swant %q in it", tt.args, out, want)
		}
		_, after := get(t, http.DefaultClient, p.url()+"/red")
		if gone := before != after; gone != tt.gone {
			t.Errorf("after purge %v: gone %v, want %v", tt.args, gone, tt.gone)
		}
	}
	p.end()
}

func TestPurgeIsAppliedAfterARestartToo(t *testing.T) {
	t.Parallel()
	p, data := taggedNode(t)
	for range 3 {
		if out, stderr, status := ask(t, nil, "purge", "--data", data, "--timeout", "60s", "tag:red", "-o", "json"); status != 0 {
			t.Fatalf("exit status %d\n%s%s", status, out, stderr)
		}
	}
	p.signal(syscall.SIGKILL)
	<-p.ended
	dir := filepath.Dir(data)
	again := serveNode(t, "-c", write(t, dir, "node.yaml", "name: renamed\n"), "--listen", "127.0.0.1:0", "--admin", "off", "--data", data, filepath.Join(dir, "shop.yaml"))
	var got client.Purge
	again.until("only the new node must answer", func() bool {
		out, stderr, _ := ask(t, nil, "purge", "--data", data, "tag:red", "-o", "json")
		got = client.Purge{}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%v: %s%s", err, out, stderr)
		}
		return got.Complete
	})
	if got.Position < 4 || len(got.Receipts) != 1 || got.Receipts[0].Node != "renamed" {
		t.Errorf("got %+v, want position 4 or later and one receipt of the node as it is named now", got)
	}
	again.end()
}

func TestPurgeWithoutAReceiptFails(t *testing.T) {
	t.Parallel()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var in client.PurgeRequest
		if err := json.Unmarshal(body, &in); err != nil || r.Method != "POST" || r.URL.Path != "/v1/purges" {
			t.Errorf("got %s %s %s %v", r.Method, r.URL, body, err)
		}
		_ = json.NewEncoder(w).Encode(client.Purge{
			What: in.What, Position: 88412, Receipts: []client.PurgeReceipt{{Node: "ams-1", MS: 1.9}, {Node: "fra-1", MS: 9.4}},
			Missing: []client.MissingNode{{Node: "iad-1", LastSeen: time.Now().Add(-38 * time.Second)}},
		})
	}))
	defer node.Close()
	out, _, status := ask(t, []string{"LANG=C.UTF-8", "LC_ALL=C.UTF-8"}, "purge", "--address", node.URL, "tag:product-42")
	const want = `
  tag:product-42  hard  at 88,412

  ● ams-1      1.9 ms  ████████
  ● fra-1      9.4 ms  ██████████████████████████████████████████
  ■ iad-1  no receipt after 5s, last seen 38 s ago

  applied on 2 of 3 nodes; missing: iad-1
`
	if status != exitFailed || out != want {
		t.Errorf("got exit status %d\n%s\nwant %d and\n%s", status, out, exitFailed, want)
	}
}

func TestPurgeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"purge"}, "say what: tag:NAME, a URL, or service:NAME"},
		{[]string{"purge", "product-42"}, `did you mean "tag:product-42"?`},
		{[]string{"purge", "--timeout", "2h", "tag:a"}, "write 1ms to 60s"},
		{[]string{"purge", "-o", "xml", "tag:a"}, "write text or json"},
	} {
		_, stderr, status := ask(t, nil, tt.args...)
		if status != exitUsage || !strings.Contains(stderr, tt.want) {
			t.Errorf("%v: got exit status %d and %q, want %d and %q", tt.args, status, stderr, exitUsage, tt.want)
		}
	}
	p, data := taggedNode(t)
	for what, want := range map[string]string{
		"service:chop":     `no service is named "chop"; there are shop`,
		"ftp://x.example/": "neither tag:NAME nor service:NAME nor a URL",
		"tag:":             "a tag has 1 to 1024 bytes",
	} {
		_, stderr, status := ask(t, nil, "purge", "--data", data, what)
		if status != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("%s: got exit status %d and %q, want %d and %q", what, status, stderr, exitFailed, want)
		}
	}
	p.end()
}
