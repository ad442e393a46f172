package judge

// makers counts the makings of each client in one window of time. It stands on the
// way of every making, and there may be as many clients as requests: so it is a table of
// open addressing, in which a new window makes all that is there old at once, instead of
// a map that is looked into twice and cleared. The zero value is empty.
type makers struct {
	slots  []maker // a power of two of them, at most half of them of this window
	used   int     // of this window
	window int64
}

// maker is a client. Clients are hashes, but nothing here trusts in that.
type maker struct {
	client uint64
	window uint32 // from 1, the low bits of the window's number; 0 is an empty slot
	n      uint16
}

// fewMakers is how many slots the first table has.
const fewMakers = 256

// turn begins another window, if it is another one.
func (m *makers) turn(window int64) {
	if window != m.window {
		m.window, m.used = window, 0
	}
}

// stamp marks the slots of this window.
func (m *makers) stamp() uint32 { return uint32(m.window)<<1 | 1 }

// find is a client's slot, or the free one that it would take.
func (m *makers) find(client uint64) *maker {
	if len(m.slots) == 0 {
		m.slots = make([]maker, fewMakers)
	}
	stamp, last := m.stamp(), uint64(len(m.slots)-1)
	for i := client * 0x9e3779b97f4a7c15 >> 32 & last; ; i = (i + 1) & last {
		if s := &m.slots[i]; s.window != stamp || s.client == client {
			return s
		}
	}
}

// take makes a free slot a client's.
func (m *makers) take(s *maker, client uint64) *maker {
	if m.used*2 >= len(m.slots) {
		m.grow()
		s = m.find(client)
	}
	m.used++
	*s = maker{client: client, window: m.stamp()}
	return s
}

func (m *makers) grow() {
	old, stamp := m.slots, m.stamp()
	m.slots = make([]maker, 2*len(old))
	for i := range old {
		if old[i].window == stamp {
			*m.find(old[i].client) = old[i]
		}
	}
}
