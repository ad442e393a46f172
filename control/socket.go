package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/selvage-edge/selvage/client"
)

// maxSocketPath is how long the path of a unix socket may be, in bytes.
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

// lockFolder takes a data folder for this process, until the file is closed or
// the process has ended, however it did.
func lockFolder(folder string) (*os.File, error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		f.Close()
		return nil, fmt.Errorf("data folder %s belongs to a node that runs: name another with --data", folder)
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EINVAL):
		return f, nil // a file system without locks: nobody can be asked
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("lock data folder %s: %w", folder, err)
	}
	return f, nil
}

// listenSocket makes the socket anew: whoever has the folder's lock knows that
// one which is there is left over from a process that was killed.
func listenSocket(ctx context.Context, folder string) (net.Listener, error) {
	path := filepath.Join(folder, client.SocketName)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("%s is %d bytes long, and the system takes %d: name a shorter folder with --data",
			path, len(path), maxSocketPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return &ownerListener{l.(*net.UnixListener)}, nil
}

// ownerListener lets in only who runs the node, and root.
type ownerListener struct{ *net.UnixListener }

// Accept is net.Listener.
func (l *ownerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peerUID(c); err == nil && (uid == 0 || uid == os.Getuid()) {
			return c, nil
		}
		_ = c.Close() // it was never let in
	}
}
