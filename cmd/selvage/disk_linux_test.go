package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFullDiskThatHasRoomAgainIsWritten: a file system of 64 KiB fills up with
// the access log, and is emptied. Requests go on all the time.
func TestFullDiskThatHasRoomAgainIsWritten(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	small := filepath.Join(dir, "small")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	inside := func(script string, args ...string) *exec.Cmd {
		cmd := exec.Command("unshare", append([]string{"--user", "--map-root-user", "--mount", "sh", "-c",
			"mount -t tmpfs -o size=64k none " + small + " && " + script, "sh"}, args...)...)
		cmd.Env = command().Env
		return cmd
	}
	if out, err := inside("true").CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted here: %v %s", err, out)
	}
	node := write(t, dir, "node.yaml", fmt.Sprintf(`
listen: [{address: "127.0.0.1:0"}]
admin: {address: off}
access_log: %s/access.log
data: data
`, small))
	p := start(t, inside(`exec selvage run -c "$1" "$2"`, node, service(t, dir, newLateOrigin(t).URL, 1)))
	log := filepath.Join("/proc", fmt.Sprint(p.cmd.Process.Pid), "root", small, "access.log") // seen from outside
	url, asked := p.url(), 0
	until := func(words string, atOnce int) {
		t.Helper()
		p.until("it says "+words, func() bool {
			for range atOnce {
				asked++
				if resp, body := get(t, http.DefaultClient, url); resp.StatusCode != 200 || body != "at once" {
					t.Fatalf("request %d: got %s %q", asked, resp.Status, body)
				}
			}
			return strings.Contains(p.stderr.String(), words)
		})
	}
	until("log cannot be written", 50)
	if err := os.Truncate(log, 0); err != nil {
		t.Fatal(err)
	}
	until("log is written again", 1) // few enough that they fit
	written, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for line := range bytes.Lines(written) {
		if json.Valid(line) {
			whole++
		}
	}
	if whole == 0 {
		t.Errorf("no line is whole: %s", written)
	}
	p.end()
}
