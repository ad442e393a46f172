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
	known map[uint64]unstorable
	ring  []uint64
	next  int
}

// unstorable is one such key.
type unstorable struct {
	until time.Time
	why   refusal
}

func (u *unstorables) remember(hash uint64, why refusal, now time.Time) {
	if _, ok := u.known[hash]; !ok {
		if len(u.ring) < unstorablePlace {
			u.ring = append(u.ring, hash)
		} else {
			delete(u.known, u.ring[u.next])
			u.ring[u.next] = hash
		}
		u.next = (u.next + 1) % unstorablePlace
	}
	u.known[hash] = unstorable{now.Add(unstorableFor), why}
}

// forget keeps the place and ends the time, so that ring and map stay of one length.
func (u *unstorables) forget(hash uint64) {
	if _, ok := u.known[hash]; ok {
		u.known[hash] = unstorable{}
	}
}

func (u *unstorables) knows(hash uint64, now time.Time) bool {
	return now.Before(u.known[hash].until)
}
