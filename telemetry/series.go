package telemetry

import (
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

const (
	// window is how many seconds a series remembers.
	window = 60
	// maxSeries bounds the services that have a series of their own. What comes
	// later is counted together under the service other.
	maxSeries = 1024
)

// Series remembers the last 60 seconds of every service, second by second, for
// `selvage status`. A request counts in the second in which it ended. The zero
// value is ready.
type Series struct {
	mu    sync.Mutex // guards changes of rings; readers take the pointer
	rings atomic.Pointer[map[serviceKey]*ring]
}

type serviceKey struct {
	tenant  selvage.Tenant
	service selvage.ServiceName
}

// Second is what happened in one second, or in several together.
type Second struct {
	Requests int64
	Bad      int64         // those that count as bad; a client that did not wait is not
	Hits     int64         // answered from the cache, stale answers included
	BytesIn  int64         // heads and bodies
	BytesOut int64         // the same of answers
	P50, P99 time.Duration // from the complete request head to the first byte; within a tenth
}

// ServiceSeries is the last minute of one service.
type ServiceSeries struct {
	Tenant  selvage.Tenant
	Service selvage.ServiceName
	Seconds []Second // the oldest first, the last is the second that goes on; 60 of them
	Total   Second   // of all of them
}

// ring holds a cell per second, found by the second modulo its length.
type ring struct {
	mu    sync.Mutex // guards cells
	cells [window]cell
}

type cell struct {
	second int64 // since 1970; the cell is of that second alone
	sums   Second
	first  spread
}

// Take counts r.
func (s *Series) Take(r *record.Record) {
	g := s.ring(serviceKey{r.Target.Tenant, r.Target.Service})
	second := r.Start.Add(r.Timing.End).Unix()
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &g.cells[uint64(second)%window]
	if c.second != second { // older, or newer if the clock was set back
		*c = cell{second: second}
	}
	c.sums.Requests++
	if counted(r.WhyBad) {
		c.sums.Bad++
	}
	if r.Cache.Hit {
		c.sums.Hits++
	}
	c.sums.BytesIn += r.Request.HeadBytes + r.Request.BodyBytes
	c.sums.BytesOut += r.Answer.HeadBytes + r.Answer.BodyBytes
	if r.Timing.FirstByte > 0 {
		c.first.add(r.Timing.FirstByte - r.Timing.Head)
	}
}

func (s *Series) ring(k serviceKey) *ring {
	if rings := s.rings.Load(); rings != nil {
		if g := (*rings)[k]; g != nil {
			return g
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rings := map[serviceKey]*ring{}
	if old := s.rings.Load(); old != nil {
		if len(*old) >= maxSeries {
			k = serviceKey{other, other}
		}
		if g := (*old)[k]; g != nil {
			return g
		}
		rings = maps.Clone(*old)
	}
	g := new(ring)
	rings[k] = g
	s.rings.Store(&rings)
	return g
}

// Snapshot is the minute that ends with the second of now, of every service
// that had a request since the start, by tenant and service. What matched no
// service has an empty name.
func (s *Series) Snapshot(now time.Time) []ServiceSeries {
	rings := s.rings.Load()
	if rings == nil {
		return nil
	}
	all := make([]ServiceSeries, 0, len(*rings))
	for k, g := range *rings {
		all = append(all, g.snapshot(k, now.Unix()))
	}
	slices.SortFunc(all, func(a, b ServiceSeries) int {
		if c := strings.Compare(string(a.Tenant), string(b.Tenant)); c != 0 {
			return c
		}
		return strings.Compare(string(a.Service), string(b.Service))
	})
	return all
}

func (g *ring) snapshot(k serviceKey, now int64) ServiceSeries {
	out := ServiceSeries{Tenant: k.tenant, Service: k.service, Seconds: make([]Second, window)}
	var whole spread
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range out.Seconds {
		second := now - window + 1 + int64(i)
		c := &g.cells[uint64(second)%window]
		if c.second != second {
			continue
		}
		v := c.sums
		v.P50, v.P99 = c.first.quantile(.5), c.first.quantile(.99)
		out.Seconds[i] = v
		out.Total.Requests += v.Requests
		out.Total.Bad += v.Bad
		out.Total.Hits += v.Hits
		out.Total.BytesIn += v.BytesIn
		out.Total.BytesOut += v.BytesOut
		whole.merge(&c.first)
	}
	out.Total.P50, out.Total.P99 = whole.quantile(.5), whole.quantile(.99)
	return out
}

// spread is a log-linear histogram of times: eight equal parts up to 16
// microseconds, then eight for every power of two, up to 67 seconds.
type spread struct {
	count uint64
	parts [parts]uint32
}

const (
	unit  = 16 * time.Microsecond
	parts = 8 + 22*8
)

func (s *spread) add(d time.Duration) {
	s.parts[part(d)]++
	s.count++
}

// part is the index of d's part.
func part(d time.Duration) int {
	v := uint64(min(max(d, 0), 2*time.Minute) * 8 / unit)
	if v < 8 {
		return int(v)
	}
	e := bits.Len64(v) - 4 // v>>e is 8 to 15
	return min(e*8+int(v>>e), parts-1)
}

// middle is the time in the middle of a part.
func middle(i int) time.Duration {
	if i < 8 {
		return (2*time.Duration(i) + 1) * unit / 16
	}
	e := i/8 - 1
	v := time.Duration(8 + i%8)
	return (2*v + 1) * unit / 16 << e
}

func (s *spread) merge(o *spread) {
	s.count += o.count
	for i, n := range o.parts {
		s.parts[i] += n
	}
}

// quantile is the time within which the share q of all lies, 0 if there are none.
func (s *spread) quantile(q float64) time.Duration {
	if s.count == 0 {
		return 0
	}
	rank := uint64(q*float64(s.count-1)) + 1
	for i, n := range s.parts {
		if uint64(n) >= rank {
			return middle(i)
		}
		rank -= uint64(n)
	}
	return middle(parts - 1)
}
