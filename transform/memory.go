package transform

import (
	"sync"

	"github.com/selvage-edge/selvage"
)

// DefaultMemory is what [NewMemory] lends without a limit.
const DefaultMemory selvage.ByteSize = 64 << 20

// What may be lent of a Memory, as parts of it.
const (
	// streamShare: event streams, which may last for days, hold at most this part.
	streamShare = 2
	// idleShare: encoders that wait for their next answer take at most this part.
	idleShare = 2
)

// Memory lends encoders and decoders within a bound in bytes, and keeps
// encoders for the next answer. One serves a whole node and outlives revisions.
// It is safe for concurrent use. What is reckoned for a coder is a constant of
// its kind, on the safe side; a test holds it against the heap.
type Memory struct {
	// OnLimit is told the name of the limit when an answer stays as it was for
	// want of memory: coders, coders_streams. Set it first; it may be nil and must not block.
	OnLimit func(limit string)

	limit int64

	mu      sync.Mutex // guards all below
	used    int64      // by all that is lent or waits
	streams int64      // by what is lent to event streams
	waiting int64      // by encoders that wait
	lent    int
	idle    [kinds][]*encoder // the last one back is the first one out
}

// MemoryStats are the numbers of a memory at one moment.
type MemoryStats struct {
	Lent    int   // encoders and decoders that are at work
	Idle    int   // encoders that wait
	Bytes   int64 // what all of these are reckoned to take
	Streams int64 // the part of it that event streams hold
}

// NewMemory returns a memory that lends at most limit bytes, 0 for [DefaultMemory].
func NewMemory(limit selvage.ByteSize) *Memory {
	if limit == 0 {
		limit = DefaultMemory
	}
	return &Memory{limit: int64(limit)}
}

// Stats returns the memory's numbers.
func (m *Memory) Stats() MemoryStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := MemoryStats{Lent: m.lent, Bytes: m.used, Streams: m.streams}
	for _, list := range m.idle {
		s.Idle += len(list)
	}
	return s
}

// encoder lends an encoder that begins a new stream, or nil.
func (m *Memory) encoder(k kind) *encoder {
	e, ok := m.takeIdle(k)
	if !ok {
		return nil
	}
	if e == nil {
		e = newEncoder(k)
	}
	e.begin()
	return e
}

// takeIdle takes an encoder that waits, or only the room for one.
func (m *Memory) takeIdle(k kind) (e *encoder, ok bool) {
	cost, stream := k.cost(), k.purpose() == streaming
	m.mu.Lock()
	defer m.mu.Unlock()
	if stream && m.streams+cost > m.limit/streamShare {
		m.reached("coders_streams")
		return nil, false
	}
	if list := m.idle[k]; len(list) > 0 {
		last := len(list) - 1
		e, list[last] = list[last], nil
		m.idle[k] = list[:last]
		m.waiting -= cost
	} else if !m.takeLocked(cost) {
		return nil, false
	}
	m.lent++
	if stream {
		m.streams += cost
	}
	return e, true
}

// giveBack takes an encoder back. One that failed is not used again.
func (m *Memory) giveBack(e *encoder, healthy bool) {
	healthy = e.end() && healthy
	cost := e.kind.cost()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lent--
	if e.kind.purpose() == streaming {
		m.streams -= cost
	}
	if !healthy || m.waiting+cost > m.limit/idleShare {
		m.used -= cost
		return
	}
	m.waiting += cost
	m.idle[e.kind] = append(m.idle[e.kind], e)
}

// take reserves bytes for a decoder, which is not kept.
func (m *Memory) take(n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.takeLocked(n) {
		return false
	}
	m.lent++
	return true
}

// release gives them back.
func (m *Memory) release(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lent--
	m.used -= n
}

// takeLocked makes room by letting go of encoders of other kinds that wait.
func (m *Memory) takeLocked(n int64) bool {
	for k := range m.idle {
		for len(m.idle[k]) > 0 && m.used+n > m.limit {
			last := len(m.idle[k]) - 1
			m.idle[k][last] = nil
			m.idle[k] = m.idle[k][:last]
			m.waiting -= kind(k).cost()
			m.used -= kind(k).cost()
		}
	}
	if m.used+n > m.limit {
		m.reached("coders")
		return false
	}
	m.used += n
	return true
}

func (m *Memory) reached(limit string) {
	if m.OnLimit != nil {
		m.OnLimit(limit)
	}
}
