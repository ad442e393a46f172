package node

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

type upgradeError struct{ ask, got string }

func (e *upgradeError) Error() string {
	return fmt.Sprintf("asked to change to %q, origin changed to %q", e.ask, e.got)
}

// As makes it a proxy error for those who ask for one.
func (e *upgradeError) As(target any) bool {
	pe, ok := target.(**selvage.ProxyError)
	if ok {
		*pe = &selvage.ProxyError{Type: selvage.UpgradeFailed, Err: e}
	}
	return ok
}

// ties are the connections that went on as something else. They outlive the
// revision that began them and end with their ends, or when the node does.
type ties struct {
	mu   sync.Mutex
	open map[net.Conn]struct{} // guarded by mu
	wg   sync.WaitGroup
}

func (t *ties) add(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = make(map[net.Conn]struct{})
	}
	t.open[c] = struct{}{}
	t.wg.Add(1)
}

func (t *ties) remove(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, c)
	t.wg.Done()
}

// count is how many are open.
func (t *ties) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// cut closes those that are open. Their handlers notice.
func (t *ties) cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.open {
		c.Close()
	}
}

// tie joins the client's connection and the origin's.
func (x *exchange) tie(resp *http.Response, origin io.ReadWriteCloser) {
	defer origin.Close()
	client, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.fail(fmt.Errorf("take over the client's connection: %w", err))
		return
	}
	defer client.Close()
	x.node.ties.add(client)
	defer x.node.ties.remove(client)
	_ = client.SetDeadline(time.Time{})
	x.unpin()
	x.rec.Answer.Status, x.rec.Answer.Upgraded = resp.StatusCode, true
	via(resp.Header, resp.Proto)
	x.route.policies.Response(&x.pol, resp.Header)
	if err := writeSwitch(client, resp); err != nil {
		x.rec.Answer.Broken, x.rec.WhyBad = true, record.ClientGone
		return
	}
	up, down := splice(client, buffered.Reader, origin, x.node.settings().Deadlines.Idle.Std())
	x.rec.Request.BodyBytes, x.rec.Answer.BodyBytes = up, down
}

func writeSwitch(client net.Conn, resp *http.Response) error {
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if err := resp.Header.Write(&head); err != nil {
		return err
	}
	head.WriteString("\r\n")
	_, err := client.Write(head.Bytes())
	return err
}

// splice copies both ways. When one direction has ended its end is passed on,
// and the other may go on as long as no idle time passes without a byte: a
// peer that never ends must not hold two connections for ever.
func splice(client net.Conn, ahead *bufio.Reader, origin io.ReadWriteCloser, idle time.Duration) (up, down int64) {
	var half atomic.Bool
	alive := time.AfterFunc(time.Duration(1<<62), func() { client.Close(); origin.Close() })
	defer alive.Stop()
	var wg sync.WaitGroup
	wg.Go(func() { // waited for below
		up = pump(origin, ahead, &half, alive, idle)
		endOf(origin, client, &half, alive, idle)
	})
	down = pump(client, origin, &half, alive, idle)
	endOf(client, origin, &half, alive, idle)
	wg.Wait()
	return up, down
}

func pump(dst io.Writer, src io.Reader, half *atomic.Bool, alive *time.Timer, idle time.Duration) (n int64) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for {
		k, err := src.Read(*buf)
		if k > 0 {
			if half.Load() && idle > 0 {
				alive.Reset(idle)
			}
			if _, werr := dst.Write((*buf)[:k]); werr != nil {
				return n
			}
			n += int64(k)
		}
		if err != nil {
			return n
		}
	}
}

// endOf passes the end of one direction on to dst. If dst has no half-close,
// both are closed.
func endOf(dst io.Closer, src io.Closer, half *atomic.Bool, alive *time.Timer, idle time.Duration) {
	half.Store(true)
	if idle > 0 {
		alive.Reset(idle)
	}
	closer, ok := dst.(interface{ CloseWrite() error })
	if !ok || closer.CloseWrite() != nil {
		dst.Close()
		src.Close()
	}
}
