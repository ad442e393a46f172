package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// conns is how many connections the clients of a rate keep.
const conns = 16

// polled is load by a client that never sleeps: the bench starts itself again on core 1 for it. A client that
// sleeps until an answer comes, as wrk does, has to be woken by each, and it is the server's processor that
// does it: on a virtual machine 8 to 12 µs, which no server pays whose clients are on the other side of a wire.
func polled(ctx context.Context, address, path string, d time.Duration) (answers, perSecond float64, err error) {
	own, err := os.Executable()
	if err != nil {
		return 0, 0, err
	}
	out, err := exec.CommandContext(ctx, "taskset", "-c", "1", own, "poll", address, path, d.String()).Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return 0, 0, fmt.Errorf("poll %s: %s", path, bytes.TrimSpace(failed.Stderr))
	}
	if err != nil {
		return 0, 0, err
	}
	answers, err = strconv.ParseFloat(string(bytes.TrimSpace(out)), 64)
	return answers, answers / d.Seconds(), err
}

// poll is the process of polled: it says how many answers came.
func poll(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("poll wants an address, a path and a duration")
	}
	d, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	all := make([]*pollConn, conns)
	for i := range all {
		if all[i], err = dialPolled(ctx, args[0], args[1]); err != nil {
			return err
		}
		defer all[i].conn.Close()
	}
	count := 0
	for end := time.Now().Add(d); time.Now().Before(end); {
		for _, c := range all {
			got, err := c.look()
			if err != nil {
				return err
			}
			count += got
		}
	}
	fmt.Println(count)
	return nil
}

// pollConn is one connection with a request under way.
type pollConn struct {
	conn     net.Conn
	raw      syscall.RawConn
	question []byte
	buf      [8 << 10]byte
	have     int
}

func dialPolled(ctx context.Context, address, path string) (*pollConn, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &pollConn{conn: conn, question: []byte("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")}
	if c.raw, err = conn.(*net.TCPConn).SyscallConn(); err != nil {
		return nil, err
	}
	_, err = conn.Write(c.question)
	return c, err
}

var (
	errAnswer = errors.New("this is no answer that counts")
	lengthIs  = []byte("\r\nContent-Length: ")
)

// look reads what there is. Is it a whole answer, it asks again and says 1.
func (c *pollConn) look() (answers int, err error) {
	var n int
	waits := c.raw.Read(func(fd uintptr) bool {
		n, err = syscall.Read(int(fd), c.buf[c.have:])
		return true
	})
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return 0, nil
	case waits != nil || err != nil:
		return 0, errors.Join(waits, err)
	case n <= 0:
		return 0, fmt.Errorf("%w: the connection ended after %q", errAnswer, c.buf[:c.have])
	}
	c.have += n
	whole, err := isWhole(c.buf[:c.have])
	if err != nil || !whole {
		return 0, err
	}
	c.have = 0
	_, err = c.conn.Write(c.question)
	return 1, err
}

// isWhole says whether an answer has come to its end. One of 2xx or 3xx with a length counts.
func isWhole(p []byte) (bool, error) {
	head := bytes.Index(p, []byte("\r\n\r\n"))
	if head < 0 {
		return false, nil
	}
	at := bytes.Index(p[:head], lengthIs)
	if at < 0 || !bytes.HasPrefix(p, []byte("HTTP/1.1 2")) && !bytes.HasPrefix(p, []byte("HTTP/1.1 3")) {
		return false, fmt.Errorf("%w: %q", errAnswer, p)
	}
	digits := p[at+len(lengthIs) : head]
	if end := bytes.IndexByte(digits, '\r'); end >= 0 {
		digits = digits[:end]
	}
	length, err := strconv.Atoi(string(digits))
	if want := head + 4 + length; err != nil || len(p) > want {
		return false, fmt.Errorf("%w: %q", errAnswer, p)
	} else if len(p) < want {
		return false, nil
	}
	return true, nil
}
