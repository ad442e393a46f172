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
	type one struct {
		key    *Key
		entry  *entry
		answer *answer
		size   int64
	}
	var all []one
	s.mu.RLock()
	for o := range s.objects.all() {
		if o.key.Tenant != p.Tenant || o.key.Service != p.Service {
			continue
		}
		for _, e := range o.variants {
			all = append(all, one{&o.key, e, e.answer, e.size})
		}
	}
	s.mu.RUnlock()
	var h Hit
	now := time.Now()
	for _, a := range all {
		if f, _ := would.fate(a.key, a.answer); !f.gone() {
			continue
		}
		if f, _ := a.answer.ledger.fate(a.key, a.answer); f.gone() {
			continue // it is gone already
		}
		h.Objects++
		h.Bytes += a.size
		h.PerSecond += float64(a.entry.asked.Load()) / max(1, now.Sub(a.answer.terms.received).Seconds())
	}
	return h
}
