package fastly

import (
	"errors"
	"io"
	"sync"
)

// pipeSize is how much of a streaming body waits in the host for its reader.
const pipeSize = 64 << 10

var (
	errAbandoned = errors.New("the function did not finish this body")
	errNoReader  = errors.New("nobody reads this body any more")
)

// pipe carries a streaming body from the guest to an origin. Writing waits while it is full.
type pipe struct {
	trailer func(*header) // told at a good end; nil: nobody wants them

	mu      sync.Mutex
	data    []byte        // guarded by mu
	err     error         // guarded by mu: what the reader gets after the data
	broken  bool          // guarded by mu: the reader is gone
	changed chan struct{} // guarded by mu: closed and made anew when anything above changes
}

func newPipe(trailer func(*header)) *pipe {
	return &pipe{trailer: trailer, changed: make(chan struct{})}
}

// changeLocked wakes whoever waits.
func (p *pipe) changeLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Write takes all of b, as room comes.
func (p *pipe) Write(b []byte) (int, error) {
	written := 0
	for {
		p.mu.Lock()
		if p.broken || p.err != nil {
			p.mu.Unlock()
			return written, errNoReader
		}
		n := min(len(b), pipeSize-len(p.data))
		if n > 0 {
			p.data = append(p.data, b[:n]...)
			b = b[n:]
			written += n
			p.changeLocked()
		}
		changed := p.changed
		p.mu.Unlock()
		if len(b) == 0 {
			return written, nil
		}
		<-changed // the reader's Close and Read both change it, and every exchange closes its readers
	}
}

// Read waits for data.
func (p *pipe) Read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		if len(p.data) > 0 {
			n := copy(b, p.data)
			p.data = p.data[n:]
			if len(p.data) == 0 {
				p.data = nil
			}
			p.changeLocked()
			p.mu.Unlock()
			return n, nil
		}
		if p.err != nil || p.broken {
			err := p.err
			if err == nil {
				err = errNoReader
			}
			p.mu.Unlock()
			return 0, err
		}
		changed := p.changed
		p.mu.Unlock()
		<-changed
	}
}

// Close is the reader's: nothing is written any more.
func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = true
	p.changeLocked()
	return nil
}

func (p *pipe) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
		p.changeLocked()
	}
}

func (p *pipe) finish(trailers *header) error {
	if p.trailer != nil {
		p.trailer(trailers)
	}
	p.end(io.EOF)
	return nil
}

func (p *pipe) abandon() { p.end(errAbandoned) }

func (p *pipe) room() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.data) < pipeSize || p.broken || p.err != nil {
		return nil
	}
	return p.changed
}
