package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage/client"
)

func TestWhyTellsAHitAndAPurge(t *testing.T) {
	t.Parallel()
	p, data := taggedNode(t)
	why := func(args ...string) string {
		t.Helper()
		out, stderr, status := ask(t, nil, append([]string{"why", "--data", data}, args...)...)
		if status != 0 {
			t.Fatalf("why %v: exit status %d\n%s%s", args, status, out, stderr)
		}
		for line := range strings.Lines(out) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > maxColumns && !strings.HasPrefix(out, "{") {
				t.Errorf("a line of %d columns: %s", n, line)
			}
		}
		return out
	}
	url := p.url() + "/red"
	if out := why(url); !strings.Contains(out, "FORWARDED on ") || !strings.Contains(out, "9111 section 2") {
		t.Errorf("a miss said\n%s", out)
	}
	p.until("it is stored", func() bool {
		resp, _ := get(t, http.DefaultClient, url)
		return strings.Contains(resp.Header.Get("Cache-Status"), "hit")
	})
	out := why(url)
	for _, want := range []string{"HIT on ", "lifetime   1000 s, max-age of Cache-Control", "tags       all red", "Cache-Status: selvage; hit; ttl="} {
		if !strings.Contains(out, want) {
			t.Errorf("a hit said\n%swant %q in it", out, want)
		}
	}
	if out, _, status := ask(t, nil, "purge", "--data", data, "--timeout", "60s", "tag:red"); status != 0 {
		t.Fatal(out)
	}
	var w client.Why
	if err := json.Unmarshal([]byte(why("-o", "json", url)), &w); err != nil || w.Verdict != "forwarded" || !strings.Contains(w.CacheStatus, "detail=purged") {
		t.Errorf("after a purge: %+v, %v", w, err)
	}
	if out := why(url); !strings.Contains(out, "tag:red, hard: it is gone; position 1 by ") {
		t.Errorf("after a purge it said\n%s", out)
	}
	for arg, want := range map[string]int{"shop.example/": exitUsage, "ftp://x/": exitFailed} {
		if out, stderr, status := ask(t, nil, "why", "--data", data, arg); status != want {
			t.Errorf("why %s: exit status %d, want %d\n%s%s", arg, status, want, out, stderr)
		}
	}
}
