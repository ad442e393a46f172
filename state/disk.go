package state

import (
	"errors"
	"fmt"
	"os"
	"strings"

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
	if f.Truncate(0) == nil {
		fmt.Fprintln(f, os.Getpid()) // a hint for people: a full disk, where it cannot be written, keeps nobody from starting
	}
	return f, nil
}

// disk knows whether there is room.
type disk struct {
	folder string
	least  int64 // bytes
}

func (d disk) hasRoom() bool {
	var s unix.Statfs_t
	err := unix.Statfs(d.folder, &s)                                 // a microsecond: an answer of a second ago was wrong by 40 MB
	return err != nil || s.Bavail*uint64(s.Bsize) >= uint64(d.least) // who cannot tell does not refuse
}
