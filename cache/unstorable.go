package cache

import "time"

// How what turned out not to be storable is remembered: requests for it do not
// wait for each other.
const (
	unstorableFor   = 10 * time.Second
	unstorablePlace = 4096 // how many are remembered; the oldest go first
)

// unstorables remembers keys, by hash, whose last answer could not be shared.
// Two keys with one hash cost each other the collapsing, nothing else. Requests
// with credentials are remembered apart from those without.
type unstorables struct {
	until map[uint64]time.Time
	ring  []uint64
	next  int
}

func (u *unstorables) remember(hash uint64, now time.Time) {
	if _, ok := u.until[hash]; !ok {
		if len(u.ring) < unstorablePlace {
			u.ring = append(u.ring, hash)
		} else {
			delete(u.until, u.ring[u.next])
			u.ring[u.next] = hash
		}
		u.next = (u.next + 1) % unstorablePlace
	}
	u.until[hash] = now.Add(unstorableFor)
}

// forget keeps the place and ends the time, so that ring and map stay of one length.
func (u *unstorables) forget(hash uint64) {
	if _, ok := u.until[hash]; ok {
		u.until[hash] = time.Time{}
	}
}

func (u *unstorables) knows(hash uint64, now time.Time) bool {
	return now.Before(u.until[hash])
}
