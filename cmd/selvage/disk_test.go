package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFullDiskStopsNoRequest: what the access log loses is counted, and said once.
func TestFullDiskStopsNoRequest(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	dir := folder(t)
	node := write(t, dir, "node.yaml", `
listen: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
access_log: /dev/full
data: data
`)
	p := serveNode(t, "-c", node, service(t, dir, newLateOrigin(t).URL, 1))
	lost := regexp.MustCompile(`(?m)^selvage_access_log_lines_lost_total (\d+)$`)
	asked, seen := 0, ""
	for range 3 { // three times it is tried to write
		p.until("a lost line is counted", func() bool {
			resp, body := get(t, http.DefaultClient, p.url())
			if asked++; resp.StatusCode != 200 || body != "at once" {
				t.Fatalf("request %d: got %s %q", asked, resp.Status, body)
			}
			_, metrics := get(t, http.DefaultClient, p.admin()+"/metrics")
			m := lost.FindStringSubmatch(metrics)
			if m == nil {
				t.Fatalf("the metric is missing:\n%s", metrics)
			}
			more := m[1] != "0" && m[1] != seen
			if more {
				seen = m[1]
			}
			return more
		})
	}
	p.says(`level=ERROR msg="log cannot be written" log="access log" path=/dev/full error=".*no space left on device"`)
	if n := strings.Count(p.stderr.String(), "log cannot be written"); n != 1 {
		t.Errorf("it is said %d times, want once", n)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err != nil {
		t.Error(err)
	}
	p.end()
}
