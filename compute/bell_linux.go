package compute

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bell makes way for those for whom something has come from the network. The
// scheduler asks the network only when nobody can run, and a guest that has
// merely yielded can: with one processor its neighbours' requests would lie in
// the kernel for 10 ms. So the guest waits for the network itself, for an event
// that it has made just before: when it goes on, the network has been asked.
type bell struct {
	conn syscall.RawConn
	bad  bool // there is none to be had
}

// ring makes way.
func (b *bell) ring() {
	if b.conn == nil && !b.bad {
		b.open()
	}
	if b.bad {
		runtime.Gosched()
		return
	}
	rung := false
	var count [8]byte
	err := b.conn.Read(func(fd uintptr) bool {
		if !rung {
			rung, count[0] = true, 1
			_, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&count)), uintptr(len(count)))
			return errno != 0
		}
		_, _, _ = syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&count)), uintptr(len(count))) // it is there
		return true
	})
	b.bad = err != nil
}

// open makes the event. The file is closed when nobody has the bell any more.
func (b *bell) open() {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		b.bad = true
		return
	}
	if b.conn, err = os.NewFile(uintptr(fd), "turn").SyscallConn(); err != nil {
		b.bad = true
	}
}
