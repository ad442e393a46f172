package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/selvage-edge/selvage/client"
)

// TestNodeThatCannotStartSaysWhy: it ends with 1, serves nothing and leaves no socket.
func TestNodeThatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	dir := folder(t)
	shop := service(t, dir, "http://127.0.0.1:1", 1)
	file := write(t, dir, "file", "")
	locked := filepath.Join(dir, "locked")
	if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a client address in use", []string{"--listen", address, "--admin", "off", shop},
			`^selvage: listen on ` + address + `: .*address already in use: another program has it: name another with --listen\n$`},
		{"an admin address in use", []string{"--listen", "127.0.0.1:0", "--admin", address, shop},
			`^selvage: admin address ` + address + `: .*address already in use: another program has it: name another with --admin, or switch it off with --admin off\n$`},
		{"an address that is not this machine's", []string{"--listen", "203.0.113.1:8080", "--admin", "off", shop},
			`^selvage: listen on 203.0.113.1:8080: .*: this machine does not have it: name another with --listen\n$`},
		{"a data folder below a file", []string{"--listen", "127.0.0.1:0", "--admin", "off", "--data", file + "/data", shop},
			`^selvage: data folder: .*not a directory: name another with --data\n$`},
		{"a data folder that cannot be written", []string{"--listen", "127.0.0.1:0", "--admin", "off", "--data", locked, shop},
			`^selvage: control socket: .*permission denied: name another with --data\n$`},
		{"a data folder that cannot be made", []string{"--listen", "127.0.0.1:0", "--admin", "off", "--data", locked + "/data", shop},
			`^selvage: data folder: .*permission denied: name another with --data\n$`},
		{"an access log that cannot be written", []string{"--admin", "off", "-c", write(t, dir, "log.yaml", "access_log: "+file+"/access.log\nlisten: [{address: '127.0.0.1:0'}]\n"), shop},
			`^selvage: access log: .*not a directory\n$`},
		{"mistakes in the node file", []string{"-c", write(t, dir, "node.yaml", "pop: Amsterdam!\nlisten: [{adress: ':80'}]\nlimits: {head: many}\n"), shop},
			`(?s)^\S+node.yaml:1:6: .*\n\S+node.yaml:2:11: .*did you mean "address"\?.*\n\S+node.yaml:3:16: `},
		{"a module that is cut off", []string{withModule(t, []byte("\x00asm\x01\x00\x00\x00\x01\x63\x00"))},
			`(?s)^\S+s.yaml:3:25: function "f": .*the module is cut off.*\n {5}3 \| functions: .*\n +\| +\^`},
		{"a certificate that is not there", []string{"-c", write(t, dir, "tls.yaml", "listen: [{address: '127.0.0.1:0', tls: true}]\ntls: {certificates: [{certificate: a.pem, key: a.key}]}\n"), shop},
			`(?s)^\S+tls.yaml:2:\d+: .*a.pem.*no such file`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if os.Getuid() == 0 && regexp.MustCompile("permission denied").MatchString(tt.want) {
				t.Skip("nothing is denied to root")
			}
			data := filepath.Join(folder(t), "data")
			_, stderr, status := ask(t, []string{"SELVAGE_DATA=" + data}, append([]string{"run"}, tt.args...)...)
			if status != exitFailed || !regexp.MustCompile(tt.want).MatchString(stderr) {
				t.Errorf("got exit status %d,\n%swant %d and what matches\n%s", status, stderr, exitFailed, tt.want)
			}
			if left, _ := os.ReadDir(data); len(left) > 0 {
				t.Errorf("left behind in the data folder: %v", left)
			}
		})
	}
}

func TestTwoNodesCannotHaveOneDataFolder(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	data := filepath.Join(dir, "data")
	args := []string{"--listen", "127.0.0.1:0", "--admin", "off", "--data", data, service(t, dir, newLateOrigin(t).URL, 1)}
	p := serveNode(t, args...)
	_, stderr, status := ask(t, nil, append([]string{"run"}, args...)...)
	if want := "selvage: data folder " + data + " belongs to a node that runs: name another with --data\n"; stderr != want || status != exitFailed {
		t.Errorf("the second node: got exit status %d, %q, want %d, %q", status, stderr, exitFailed, want)
	}
	// The first one is as it was, its socket too.
	if _, body := get(t, http.DefaultClient, p.url()); body != "at once" {
		t.Errorf("the first node answers %q", body)
	}
	if s := statusOf(t, data); s.State != "ready" {
		t.Errorf("the first node is %s", s.State)
	}
	p.end()
}

func TestKilledNodeStartsAgainAtOnce(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	data := filepath.Join(dir, "data")
	shop := service(t, dir, newLateOrigin(t).URL, 1)
	p := serveNode(t, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data, shop)
	addr, admin := p.addr(), p.admin()[len("http://"):]
	get(t, http.DefaultClient, "http://"+addr) // a connection that is open when it is killed
	p.signal(syscall.SIGKILL)
	<-p.ended
	if _, err := os.Stat(filepath.Join(data, client.SocketName)); err != nil {
		t.Errorf("this test wants a socket that is left over: %v", err)
	}
	if _, stderr, status := ask(t, nil, "status", "--data", data); status != exitFailed || !regexp.MustCompile("^selvage: no node runs here").MatchString(stderr) {
		t.Errorf("status of a killed node: exit status %d, %s", status, stderr)
	}
	p = serveNode(t, "--listen", addr, "--admin", admin, "--data", data, shop)
	if _, body := get(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+addr); body != "at once" {
		t.Errorf("the second node answers %q", body)
	}
	if s := statusOf(t, data); s.State != "ready" {
		t.Errorf("the second node is %s", s.State)
	}
	p.end()
}
