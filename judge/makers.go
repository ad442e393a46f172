package judge

import "math/bits"

// makers counts the makings of each client in one window of time. It stands on the
// way of every making, and there may be as many clients as requests: so it is a table of
// open addressing with eight bytes for a client, in which a new window makes all that is there
// old at once, instead of a map that is looked into twice and cleared. The zero value is empty.
type makers struct {
	slots  []maker // a power of two of them, at most half of them of this window
	used   int     // of this window
	window int64
}

// maker is a client's makings in a window: from the top 48 bits of a hash, by which the
// client is known, 5 of the window's stamp and 11 of the count. Of 65,536 clients
// two are the same with a chance of 1 in 100,000, and are then one client for ten seconds.
type maker uint64

// The parts of a maker.
const (
	countBits = 11
	stampBits = 5
	wholeTurn = 1<<stampBits - 1 // windows after which stamps come again; 0 is an empty slot's
	mostCount = 1<<countBits - 1
)

// The count of a maker has to hold mostMakings.
const _ = uint(mostCount - mostMakings)

// fewMakers is how many slots the first table has.
const fewMakers = 256

// turn begins another window, if it is a later one. What is of an earlier one came late: clocks
// are read before one waits for one's turn. Going back would forget how full the table is.
func (m *makers) turn(window int64) {
	if window <= m.window {
		return
	}
	if window/wholeTurn != m.window/wholeTurn {
		clear(m.slots) // or what was long ago would be of this window
	}
	m.window, m.used = window, 0
}

// stamp marks the slots of this window.
func (m *makers) stamp() maker { return maker(m.window%wholeTurn+1) << countBits }

func (s maker) count() int   { return int(s & mostCount) }
func (s maker) stamp() maker { return s & (wholeTurn << countBits) }
func (s maker) tag() maker   { return s >> (countBits + stampBits) }

// tagOf is what a client is known by. Clients are hashes, but nothing here trusts in that.
func tagOf(client uint64) maker {
	hi, lo := bits.Mul64(client^0xa0761d6478bd642f, 0x9e3779b97f4a7c15)
	return maker(hi^lo) >> (countBits + stampBits)
}

// find is the slot of a tag, or the free one that it would take.
func (m *makers) find(tag maker) *maker {
	stamp, last := m.stamp(), uint64(len(m.slots)-1)
	for i := uint64(tag) & last; ; i = (i + 1) & last {
		if s := &m.slots[i]; s.stamp() != stamp || s.tag() == tag {
			return s
		}
	}
}

// count counts a making and says how many the client had before it in this window, at most
// mostMakings. Where there is no room for one more client it is false, and counts nothing.
func (m *makers) count(client uint64) (before int, ok bool) {
	if len(m.slots) == 0 {
		m.slots = make([]maker, fewMakers)
	}
	tag := tagOf(client)
	s := m.find(tag)
	if s.stamp() == m.stamp() {
		if before = s.count(); before < mostMakings {
			*s++
		}
		return before, true
	}
	if m.used >= maxMakers {
		return 0, false
	}
	if m.used*2 >= len(m.slots) {
		m.grow()
		s = m.find(tag)
	}
	m.used++
	*s = tag<<(countBits+stampBits) | m.stamp() | 1
	return 0, true
}

func (m *makers) grow() {
	old, stamp := m.slots, m.stamp()
	m.slots = make([]maker, 2*len(old))
	for _, s := range old {
		if s.stamp() == stamp {
			*m.find(s.tag()) = s
		}
	}
}
