package cache

import (
	"slices"
	"sync"
)

// flights are all that are under way in a store.
type flights struct {
	mu                         sync.Mutex                   // guards all below, and the flights' own states
	byKey                      map[Key][]*flight            // the joinable ones
	running                    map[Key]map[*flight]struct{} // the joinable ones too, by path
	count                      int
	makers                     int   // of forms
	ahead                      int   // fetches of slices that nobody waited for when they began
	refreshes                  int   // that are under way
	refreshed, refreshFailures int64 // that have come to an end
	unstorables                unstorables
	closed                     bool
	changes                    changes
	wg                         sync.WaitGroup
}

func newFlights() flights {
	return flights{
		byKey:       make(map[Key][]*flight),
		running:     make(map[Key]map[*flight]struct{}),
		unstorables: unstorables{known: make(map[uint64]unstorable)},
	}
}

func (s *flights) stats(to *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to.Flights, to.Refreshing = s.count, s.refreshes
	to.Refreshed, to.RefreshFailures = s.refreshed, s.refreshFailures
}

func (s *flights) close() {
	s.mu.Lock()
	s.closed = true
	for _, same := range s.running {
		for f := range same {
			f.cancel()
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// startLocked lets a flight run. Close waits for it.
func (t *Transport) startLocked(f *flight, joinable bool) {
	s := &t.store.flights
	f.joinable = joinable
	if joinable {
		s.byKey[f.key] = append(s.byKey[f.key], f)
	}
	path := f.key.path()
	same := s.running[path]
	if same == nil {
		same = make(map[*flight]struct{}, 1)
		s.running[path] = same
	}
	same[f] = struct{}{}
	s.count++
	if f.ahead {
		s.ahead++
	}
	s.wg.Go(f.run)
}

// closeLocked lets nobody else in.
func (s *flights) closeLocked(f *flight) {
	if !f.joinable {
		return
	}
	f.joinable = false
	rest := slices.DeleteFunc(s.byKey[f.key], func(other *flight) bool { return other == f })
	if len(rest) == 0 {
		delete(s.byKey, f.key)
	} else {
		s.byKey[f.key] = rest
	}
}

// finish ends a flight. It may be called again.
func (f *flight) finish() {
	f.deadline.Stop()
	f.cancel()
	s := &f.transport.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	path := f.key.path()
	same := s.running[path]
	if _, running := same[f]; !running {
		return
	}
	s.closeLocked(f)
	s.count--
	if delete(same, f); len(same) == 0 {
		delete(s.running, path)
	}
	if f.refreshing {
		s.refreshes--
	}
	if f.ahead {
		s.ahead--
	}
}

// doom says whether what a flight brings was made invalid on its way.
type doom int

const (
	spared        doom = iota
	neighbourGone      // another URL of its path was: its answer may be for that, too
	urlGone
)

func (f *flight) isDoomedLocked() bool {
	return f.doom == urlGone || f.doom == neighbourGone && f.place.variedBy() != ""
}

// invalidate forgets what is stored for the keys, and lets nothing that is on
// its way take its place.
func (s *Store) invalidate(keys []Key) {
	for _, k := range keys {
		s.flights.mu.Lock()
		s.flights.changes[s.changeSlot(&k)]++
		for f := range s.flights.running[k.path()] {
			if f.key.url() == k {
				f.doom = urlGone
				s.flights.closeLocked(f)
			}
			f.doom = max(f.doom, neighbourGone)
		}
		s.flights.mu.Unlock()
		s.removeAll(k)
	}
}
