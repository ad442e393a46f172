package main

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// startTry starts try with a temporary folder of its own.
func startTry(t *testing.T, args ...string) (p *process, tmp string) {
	t.Helper()
	tmp = folder(t)
	cmd := command(append([]string{"try", "--listen", "127.0.0.1:0"}, args...)...)
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
		for _, want := range []string{"selvage; fwd=uri-miss; stored", "selvage; hit; ttl="} {
			resp, body := get(t, http.DefaultClient, url+"/p/42")
			if got := resp.Header.Get("Cache-Status"); resp.StatusCode != 200 || !strings.HasPrefix(got, want) || !strings.Contains(body, "</html>") {
				t.Errorf("GET /p/42: got %s, Cache-Status %q, want 200, %q", resp.Status, got, want)
			}
		}
		p.signal(end)
		p.exit(0)
		nothingIn(t, tmp)
	}
}

func TestTryHasTrafficOfItsOwn(t *testing.T) {
	t.Parallel()
	p, tmp := startTry(t, "--admin", "127.0.0.1:0")
	data := p.says(`status --data (\S+)`)
	p.until("shoppers were answered, some from the cache, none badly", func() bool {
		s := statusOf(t, data).Services[0]
		return s.Service == "shop" && s.LastMinute.Requests > 10 && s.LastMinute.Hits > 0 && s.LastMinute.Bad == 0
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
