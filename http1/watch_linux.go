package http1

import (
	"net"
	"os"
	"sync"
	"syscall"
)

// watcher tells connections that their client closed its side. One epoll holds
// those that are kept for a second request, and those of which a handler asked
// for the end of its context. It reads nothing, and nothing is done for a
// request: only the end of a connection wakes it. It exists while it has
// connections.
type watcher struct {
	mu    sync.Mutex // guards what follows
	epoll *os.File
	fd    int
	conns map[uint64]*conn
	last  uint64
}

// epollGone is what is told: the client closed its side, or the connection broke.
const epollGone = syscall.EPOLLRDHUP | epollET

const epollET = 1 << 31

// add watches c. It returns 0 where there is no socket to watch.
func (w *watcher) add(c *conn) uint64 {
	tcp := socketOf(c.nc)
	if tcp == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epoll == nil && !w.openLocked() {
		return 0
	}
	w.last++
	id := w.last
	w.conns[id] = c
	if !w.registerLocked(tcp, id) {
		delete(w.conns, id)
		w.closeLocked()
		return 0
	}
	return id
}

// remove ends the watching of a connection. Its socket stays in the epoll until
// it is closed; what is told of it is dropped.
func (w *watcher) remove(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, id)
	w.closeLocked()
}

func (w *watcher) registerLocked(tcp *net.TCPConn, id uint64) bool {
	rc, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = rc.Control(func(fd uintptr) {
		ev := syscall.EpollEvent{Events: epollGone, Fd: int32(uint32(id)), Pad: int32(uint32(id >> 32))}
		ok = syscall.EpollCtl(w.fd, syscall.EPOLL_CTL_ADD, int(fd), &ev) == nil
	})
	return ok && err == nil
}

func (w *watcher) openLocked() bool {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	if syscall.SetNonblock(fd, true) != nil {
		_ = syscall.Close(fd)
		return false
	}
	// An epoll can itself be waited for: the runtime does, and no thread is lost.
	f := os.NewFile(uintptr(fd), "epoll of clients")
	rc, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return false
	}
	w.epoll, w.fd = f, fd
	w.conns = make(map[uint64]*conn)
	go w.run(fd, rc) // ends when the last connection is removed
	return true
}

// closeLocked ends run with the last connection.
func (w *watcher) closeLocked() {
	if len(w.conns) == 0 && w.epoll != nil {
		_ = w.epoll.Close()
		w.epoll = nil
	}
}

// run tells connections until the epoll is closed.
func (w *watcher) run(fd int, rc syscall.RawConn) {
	var events [64]syscall.EpollEvent
	for {
		n := 0
		err := rc.Read(func(uintptr) bool {
			var err error
			n, err = syscall.EpollWait(fd, events[:], 0)
			return n > 0 || err != nil && err != syscall.EINTR
		})
		if err != nil || n < 0 {
			return
		}
		for _, ev := range events[:n] {
			w.tell(uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32)
		}
	}
}

func (w *watcher) tell(id uint64) {
	w.mu.Lock()
	c := w.conns[id]
	w.mu.Unlock()
	if c != nil {
		c.clientGone()
	}
}
