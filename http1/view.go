package http1

import (
	"net"
	"sync"
)

// clientView notices while a handler runs that the client is gone. On linux one
// epoll for the whole server does it and no connection pays for it. Elsewhere,
// and on connections that are no sockets, a goroutine waits for the next byte,
// but only where a handler asked for the end of its context and the request
// body is through; the byte is not lost.
type clientView struct {
	mu      sync.Mutex // guards what follows
	id      uint64     // at the watcher, 0 if it does not watch
	wanted  bool
	peeking bool
	stop    bool
	done    chan struct{}
	byte    [1]byte
	n       int
	err     error
}

// watchClient begins to look out for the end of the client.
func (c *conn) watchClient(x *exchange) {
	v := &c.view
	v.mu.Lock()
	defer v.mu.Unlock()
	if x.w.isTakenOver.Load() || v.watchLocked(c) {
		return
	}
	v.wanted = true
	if x.body.x == nil || x.body.over.Load() {
		v.startLocked(c)
	}
}

// watchSocket says whether the watcher tells of the end of the client.
func (c *conn) watchSocket() bool {
	c.view.mu.Lock()
	defer c.view.mu.Unlock()
	return c.view.watchLocked(c)
}

func (v *clientView) watchLocked(c *conn) bool {
	if v.id == 0 {
		v.id = c.srv.watch.add(c)
	}
	return v.id != 0
}

// bodyOver is called when the request body is through.
func (v *clientView) bodyOver(c *conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.wanted {
		v.startLocked(c)
	}
}

// forget takes the wish back.
func (v *clientView) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wanted = false
}

func (v *clientView) startLocked(c *conn) {
	if v.peeking {
		return
	}
	v.peeking, v.stop, v.done = true, false, make(chan struct{})
	go c.peek(v.done) // stopPeek waits for it
}

// peek waits for a byte or the end of the client.
func (c *conn) peek(done chan struct{}) {
	defer close(done)
	v := &c.view
	var b [1]byte
	for {
		n, err := c.nc.Read(b[:])
		v.mu.Lock()
		again := n == 0 && err != nil && isTimeout(err) && !v.stop && !c.isCut.Load()
		if again {
			c.clock.disarm() // it was the clock's, which is lazy
		}
		v.byte, v.n = b, n
		gone := n == 0 && err != nil && !isTimeout(err)
		if gone {
			v.err = err
		}
		v.mu.Unlock()
		if gone {
			c.clientGone()
		}
		if !again {
			return
		}
	}
}

// stopPeek ends the background read and keeps its byte. It says whether the
// connection is still good.
func (c *conn) stopPeek() bool {
	v := &c.view
	v.mu.Lock()
	v.wanted = false
	if !v.peeking {
		v.mu.Unlock()
		return true
	}
	v.stop = true
	done := v.done
	v.mu.Unlock()
	_ = c.nc.SetReadDeadline(longAgo)
	<-done
	v.mu.Lock()
	defer v.mu.Unlock()
	c.clock.disarm()
	v.peeking = false
	if v.n > 0 {
		c.in.prefill(v.byte[:])
		v.n = 0
	}
	return v.err == nil
}

// unwatch ends all watching. The connection is closed or handed over next.
func (c *conn) unwatch() {
	c.stopPeek()
	v := &c.view
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.id != 0 {
		c.srv.watch.remove(v.id)
		v.id = 0
	}
}

// socketOf is the TCP connection under nc, nil if there is none.
func socketOf(nc net.Conn) *net.TCPConn {
	for {
		switch t := nc.(type) {
		case *net.TCPConn:
			return t
		case interface{ NetConn() net.Conn }:
			nc = t.NetConn()
		default:
			return nil
		}
	}
}
