package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a new one; closing its first file hangs it up.
func terminal(t *testing.T) (outer, inner *os.File) {
	t.Helper()
	outer, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("this system has no terminals: ", err)
	}
	t.Cleanup(func() { outer.Close() })
	fd := int(outer.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	inner, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return outer, inner
}

// TestClosedTerminalEndsTheNode: SIGHUP means a reload, but not from a terminal
// that was closed, where nobody is left who could end the node.
func TestClosedTerminalEndsTheNode(t *testing.T) {
	t.Parallel()
	outer, inner := terminal(t)
	dir := folder(t)
	cmd := command("run", "--listen", "127.0.0.1:0", "--admin", "off", "--data", filepath.Join(dir, "data"), service(t, dir, "http://127.0.0.1:1", 1))
	cmd.Stdin = inner
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	p := start(t, cmd)
	inner.Close()
	p.says("serving")
	p.reloaded() // one that somebody sent
	outer.Close()
	p.exit(0)
}
