package state

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/selvage-edge/selvage"
)

// lockFile takes a file for this process. The kernel gives it free when the process ends, however it does.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, selvage.Errorf(selvage.Unavailable, "%w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, selvage.Errorf(selvage.Unavailable, "lock: %w", err)
		}
		owner, _ := os.ReadFile(name) // a hint only
		return nil, selvage.Errorf(selvage.Conflict, "another process has it (pid %s)", strings.TrimSpace(string(owner)))
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, selvage.Errorf(selvage.Unavailable, "lock: %w", err)
	}
	return f, nil
}

// disk knows whether there is room, as of a second ago.
type disk struct {
	folder string
	least  int64 // bytes

	mu    sync.Mutex // guards what follows
	asked time.Time
	room  bool
}

func (d *disk) hasRoom() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked.IsZero() || time.Since(d.asked) > time.Second {
		var s unix.Statfs_t
		err := unix.Statfs(d.folder, &s)
		d.room = err != nil || int64(s.Bavail)*int64(s.Bsize) >= d.least // who cannot tell does not refuse
		d.asked = time.Now()
	}
	return d.room
}
