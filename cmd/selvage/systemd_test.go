package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

func TestSystemdIsToldOfEveryState(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	socket := filepath.Join(dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	next := func() string {
		b := make([]byte, 4096)
		_ = l.SetReadDeadline(time.Now().Add(patience))
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	want := func(state string) {
		t.Helper()
		if got := next(); got != state {
			t.Fatalf("systemd was told %q, want %q", got, state)
		}
	}
	reloading := regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=(\d+)$`)

	cmd := command("run", "--listen", "127.0.0.1:0", "--admin", "off", "--data", filepath.Join(dir, "data"), service(t, dir, "http://127.0.0.1:1", 1))
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket)
	p := start(t, cmd)
	want("READY=1")
	for _, file := range []string{"service: shop\n", ""} { // a wrong one, then a right one: systemd waits for the end of both
		if write(t, dir, "shop.yaml", file); file == "" {
			service(t, dir, "http://127.0.0.1:1", 2)
		}
		before := monotonic(t)
		p.signal(syscall.SIGHUP)
		got := next()
		m := reloading.FindStringSubmatch(got)
		if m == nil {
			t.Fatalf("systemd was told %q, want RELOADING=1 with its time", got)
		}
		// systemd takes a reload as begun only if this is not before its signal.
		if usec, _ := strconv.ParseInt(m[1], 10, 64); usec < before || usec > monotonic(t) {
			t.Errorf("the reload began at %d µs, want between %d and now", usec, before)
		}
		want("READY=1")
	}
	p.signal(syscall.SIGTERM)
	want("STOPPING=1")
	p.exit(0)
}

// socketFile opens a socket as systemd does, and hands it to a command as its next descriptor.
func socketFile(t *testing.T, cmd *exec.Cmd, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // the file keeps it
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	return l.Addr().String()
}

func TestSocketsOfSystemdAreServed(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec selvage run -c "$0" "$1"`, filepath.Join(dir, "node.yaml"), service(t, dir, newLateOrigin(t).URL, 1))
	cmd.Env = command().Env
	clients, admin := socketFile(t, cmd, "127.0.0.1:0"), socketFile(t, cmd, "127.0.0.1:0")
	_, everywhere, _ := net.SplitHostPort(socketFile(t, cmd, ":0"))
	unused := socketFile(t, cmd, "127.0.0.1:0")
	cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(cmd.ExtraFiles)))
	write(t, dir, "node.yaml", fmt.Sprintf("listen: [{address: %q}, {address: %q}]\nadmin: {address: %q}\naccess_log: off\ndata: data\n",
		clients, ":"+everywhere, admin))

	// Who connects before it runs is served when it does.
	early, err := net.Dial("tcp", clients)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	fmt.Fprintf(early, "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
	p := start(t, cmd)
	answer := make([]byte, 12)
	if _, err := early.Read(answer); err != nil || string(answer) != "HTTP/1.1 200" {
		t.Errorf("the early client got %q %v, want an answer", answer, err)
	}
	for _, url := range []string{"http://" + clients, "http://127.0.0.1:" + everywhere} {
		if _, body := get(t, http.DefaultClient, url); body != "at once" {
			t.Errorf("%s: got %q", url, body)
		}
	}
	if _, body := get(t, http.DefaultClient, "http://"+admin+"/readyz"); body != "ok\n" {
		t.Errorf("readyz: got %q", body)
	}
	p.says(`no listener of the node file has the address of this socket of systemd" address=` + regexp.QuoteMeta(unused))
	if n := strings.Count(p.stderr.String(), "this socket of systemd"); n != 1 {
		t.Errorf("%d sockets are said to be unused, want 1", n)
	}
	p.end()
}

func TestSocketsOfSystemdForAnotherProcessAreLeftAlone(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	cmd := command("run", "--listen", "127.0.0.1:0", "--admin", "off", "--data", filepath.Join(dir, "data"), service(t, dir, "http://127.0.0.1:1", 1))
	foreign := socketFile(t, cmd, "127.0.0.1:0")
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1", fmt.Sprintf("LISTEN_PID=%d", os.Getpid()))
	p := start(t, cmd)
	if got := p.addr(); got == foreign {
		t.Errorf("it serves %s, which was not meant for it", got)
	}
	p.end()
}
