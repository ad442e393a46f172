package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// startTry starts try with a temporary folder of its own.
func startTry(t *testing.T, args ...string) (p *process, tmp string) {
	t.Helper()
	tmp = folder(t)
	cmd := command(append([]string{"try", "--listen", "127.0.0.1:0", "--origin", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	p = start(t, cmd)
	p.says("Ctrl-C ends everything")
	return p, tmp
}

func nothingIn(t *testing.T, tmp string) {
	t.Helper()
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestTryLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for _, end := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		p, tmp := startTry(t, "--quiet", "--admin", "off")
		url := p.says(`shop +(http://\S+)`)
		ask := func(want string) bool {
			resp, body := get(t, http.DefaultClient, url+"/p/42")
			if resp.StatusCode != 200 || !strings.Contains(body, "</html>") {
				t.Fatalf("GET /p/42: got %s %q", resp.Status, body)
			}
			return strings.HasPrefix(resp.Header.Get("Cache-Status"), want)
		}
		if !ask("selvage; fwd=uri-miss; stored") {
			t.Error("the first answer is not said to be stored")
		}
		p.until("the next is a hit", func() bool { return ask("selvage; hit; ttl=") }) // it is stored behind the answer
		p.signal(end)
		p.exit(0)
		nothingIn(t, tmp)
	}
}

func TestTryHasTrafficOfItsOwn(t *testing.T) {
	t.Parallel()
	p, tmp := startTry(t, "--admin", "127.0.0.1:0")
	data := filepath.Join(p.says(`files +(\S+)`), "ams-1")
	p.until("shoppers were answered, some from the cache", func() bool {
		s := statusOf(t, data).Services[0]
		return s.Service == "shop" && s.LastMinute.Requests-s.LastMinute.Bad > 10 && s.LastMinute.Hits > 0
	})
	metrics := p.says(`metrics +(http://\S+)`)
	if _, body := get(t, http.DefaultClient, metrics); !strings.Contains(body, `selvage_requests_total{method="GET"`) {
		t.Errorf("metrics have no requests:\n%s", body)
	}
	// As the hints say: break the origin, and heal it.
	origin := p.says(`origin +(http://\S+)`)
	for _, mode := range []string{"error", "ok"} {
		resp, err := http.Post(origin+"/_shop/behave", "application/x-www-form-urlencoded", strings.NewReader("mode="+mode))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		want := map[string]string{"error": "down", "ok": "in"}[mode]
		p.until("the endpoint is "+want, func() bool { return statusOf(t, data).Services[0].Origins[0].Endpoints[0].State == want })
	}
	p.signal(syscall.SIGINT)
	p.exit(0)
	nothingIn(t, tmp)
}

func TestTryPurgesWithThreeReceiptsAndUndoesABadDeploy(t *testing.T) {
	t.Parallel()
	p, tmp := startTry(t, "--admin", "off")
	tell := func(want int, args ...string) string {
		t.Helper()
		out, stderr, status := ask(t, []string{"TMPDIR=" + tmp}, args...) // as from a second terminal
		if status != want {
			t.Fatalf("%v: exit status %d, want %d\n%s%s", args, status, want, out, stderr)
		}
		return out
	}
	if out := tell(0, "status"); !strings.Contains(out, "ams-1") {
		t.Errorf("status said\n%s", out)
	}
	p.until("the three nodes are known", func() bool {
		out, _, _ := ask(t, []string{"TMPDIR=" + tmp}, "purge", "tag:product-42") // fails where a node has no receipt in time
		return strings.Contains(out, "ams-1") && strings.Contains(out, "fra-1") && strings.Contains(out, "iad-1") &&
			strings.Contains(out, "applied on 3 of 3 nodes")
	})
	out := tell(0, "why", p.says(`shop +(http://\S+)`)+"/p/none")
	if !strings.Contains(out, "fra-1 forwarded: nothing that may be used") || !strings.Contains(out, "iad-1 forwarded: ") {
		t.Errorf("why did not ask the other nodes:\n%s", out)
	}
	p.until("the file is in the log", func() bool { return strings.Contains(tell(0, "changes"), "c-1 ") })
	bad := exampleAt(t, "bad-500", p.says(`origin +(http://\S+)`))
	out = tell(1, "deploy", bad, "-m", "try a bad one")
	if !strings.Contains(out, " ready 3 of 3 nodes") || !strings.Contains(out, " undone after ") {
		t.Errorf("deploy said\n%s", out)
	}
	p.signal(syscall.SIGINT)
	p.exit(0)
	nothingIn(t, tmp)
}

// exampleAt is an example's service file for a shop at a URL.
func exampleAt(t *testing.T, name, url string) (file string) {
	t.Helper()
	dir := folder(t)
	for _, f := range []string{name + "/shop.yaml", "shop/sorry.html"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "examples", f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, dir, f, strings.ReplaceAll(string(data), "http://127.0.0.1:3000", url))
	}
	return filepath.Join(dir, name, "shop.yaml")
}

func TestSecondInterruptOfTryLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	p, tmp := startTry(t, "--quiet", "--admin", "off")
	resp, err := http.Get(p.says(`shop +(http://\S+)`) + "/prices") // an event stream holds the drain
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p.signal(syscall.SIGINT)
	p.says("Ending")
	_ = p.cmd.Process.Signal(syscall.SIGINT) // the drain may be over by now
	<-p.ended
	nothingIn(t, tmp)
}
