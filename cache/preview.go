package cache

import "time"

// Hit is what a purge would hit.
type Hit struct {
	Objects   int
	Bytes     int64   // with overhead
	PerSecond float64 // how often they were asked for, each since it was stored
}

// Preview says what a purge would hit, and hits nothing. It looks at everything
// that is stored: what a purge itself does not do.
func (s *Store) Preview(p Purge) Hit {
	would := new(ledger)
	const future = 1 << 63 // after whatever is stored
	p.note(would, purgedAt(future, false, time.Time{}))
	would.last.Store(future)
	var h Hit
	now := time.Now()
	var v view
	for from := number(1); from != 0; {
		from = s.someEntries(from, func(e *entry) {
			key := s.keyLocked(e)
			if key.Tenant != p.Tenant || key.Service != p.Service || e.part {
				return
			}
			a, _ := s.seeLocked(e, &key, nil, &views{all: []*view{&v}})
			if f, _ := would.fate(&key, a); !f.gone() {
				return
			}
			if f, _ := a.ledger.fate(&key, a); f.gone() {
				return // it is gone already
			}
			h.Objects++
			h.Bytes += e.size
			h.PerSecond += float64(e.asked.Load()) / max(1, now.Sub(a.terms.received).Seconds())
		})
	}
	return h
}

// someEntries walks through entries from a number on, with the store's lock and no
// longer than nobody minds. It returns where to go on, 0 at the end.
func (s *Store) someEntries(from number, do func(*entry)) (next number) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for n := from; n <= s.objects.used; n++ {
		if n == from+entriesAtOnce {
			return n
		}
		if e := s.objects.at(n); e.self != 0 {
			do(e)
		}
	}
	return 0
}
