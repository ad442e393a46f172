package cache

import (
	"encoding/binary"
	"runtime"
	"syscall"
)

// The sizes of segments, in bytes, and which part of a store one may be.
const (
	leastSegment = 4 << 10
	mostSegment  = 1 << 20
	segmentShare = 512
	// emptyKept: so many empty segments are kept for what comes next.
	emptyKept = 2
	// recordHead is what stands before a record: whose it is, and how long.
	recordHead = 8
	// recordShare: a record takes at most this part of a segment, so that little is lost at its end.
	recordShare = 16
	// compactStep is how many bytes are looked at, at a time, to bring records together.
	compactStep = 64 << 10
)

// slabs hold the records of stored answers in memory that Go's collector does
// not know: it neither looks at it nor lets the heap grow by it. Records are written one
// behind the other into segments. One that is dropped leaves a gap; when the gaps
// are too many, what is left of the emptiest segment is written anew, and the segment
// is given back. So nobody may keep a record beyond the lock of the store that
// it is read under.
type slabs struct {
	size     int       // of a segment
	segments []segment // by number; the first is never used
	unused   []uint32  // numbers without memory
	empty    []uint32  // numbers of those with memory and without records
	current  uint32    // the segment that is written to
	mapped   int64     // bytes of all segments
	live     int64     // bytes of all records
	victim   uint32    // the segment that is being emptied, 0 for none
	cursor   int       // how far it was looked at
	owned    *mappings
}

// segment is a piece of memory with records.
type segment struct {
	memory []byte
	filled int
	live   int
}

// spot is where a record lies. The zero spot is nowhere.
type spot struct{ segment, offset uint32 }

// mappings are what is to be given back when the store is not used any more.
type mappings struct{ of map[uint32][]byte }

func (m *mappings) free() {
	for _, memory := range m.of {
		_ = syscall.Munmap(memory) // it was mapped: there is nothing to be told
	}
}

func newSlabs(limit int64) *slabs {
	size := leastSegment
	for size < mostSegment && int64(size) < limit/segmentShare {
		size *= 2
	}
	s := &slabs{size: size, segments: make([]segment, 1), owned: &mappings{make(map[uint32][]byte)}}
	runtime.AddCleanup(s, (*mappings).free, s.owned)
	return s
}

// most is how long a record may be.
func (s *slabs) most() int { return s.size/recordShare - recordHead }

// slack is what the segments take beyond their records.
func (s *slabs) slack() int64 { return s.mapped - s.live }

// add writes the record of an entry. It is false where the system gives no memory.
func (s *slabs) add(n number, record []byte) (spot, bool) {
	need := recordHead + len(record)
	if s.current == 0 || s.size-s.segments[s.current].filled < need {
		next, ok := s.open()
		if !ok {
			return spot{}, false
		}
		last := s.current
		s.current = next
		if last != 0 && s.segments[last].live == 0 {
			s.clear(last)
		}
	}
	seg := &s.segments[s.current]
	at := seg.memory[seg.filled:]
	binary.LittleEndian.PutUint32(at, uint32(n))
	binary.LittleEndian.PutUint32(at[4:], uint32(len(record)))
	copy(at[recordHead:], record)
	where := spot{s.current, uint32(seg.filled)}
	seg.filled += need
	seg.live += need
	s.live += int64(need)
	return where, true
}

// open finds an empty segment.
func (s *slabs) open() (n uint32, ok bool) {
	if last := len(s.empty) - 1; last >= 0 {
		n, s.empty = s.empty[last], s.empty[:last]
		return n, true
	}
	memory, err := syscall.Mmap(-1, 0, s.size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return 0, false
	}
	if last := len(s.unused) - 1; last >= 0 {
		n, s.unused = s.unused[last], s.unused[:last]
	} else {
		n = uint32(len(s.segments))
		s.segments = append(s.segments, segment{})
	}
	s.segments[n] = segment{memory: memory}
	s.owned.of[n] = memory
	s.mapped += int64(s.size)
	return n, true
}

// clear makes a segment empty, or gives it back.
func (s *slabs) clear(n uint32) {
	seg := &s.segments[n]
	seg.filled = 0
	if n == s.victim {
		s.victim = 0
	}
	switch {
	case n == s.current:
	case len(s.empty) < emptyKept:
		s.empty = append(s.empty, n)
	default:
		_ = syscall.Munmap(seg.memory) // it was mapped: there is nothing to be told
		delete(s.owned.of, n)
		s.segments[n] = segment{}
		s.unused = append(s.unused, n)
		s.mapped -= int64(s.size)
	}
}

// at is the record at a spot. It is read, and not kept, under the store's lock.
func (s *slabs) at(where spot) []byte {
	p := s.segments[where.segment].memory[where.offset:]
	n := binary.LittleEndian.Uint32(p[4:])
	return p[recordHead : recordHead+n : recordHead+n]
}

// drop forgets the record at a spot.
func (s *slabs) drop(where spot) {
	n := recordHead + len(s.at(where))
	seg := &s.segments[where.segment]
	seg.live -= n
	s.live -= int64(n)
	if seg.live == 0 {
		s.clear(where.segment)
	}
}

// sparse says whether there are so many gaps that records should be brought together.
func (s *slabs) sparse() bool {
	return s.slack() > s.live/gapShare+(emptyKept+3)*int64(s.size)
}

// gapShare: gaps take at most this part of what the records take.
const gapShare = 24

// worthEmptying: a segment is written anew if more than this part of it are gaps. That
// is more than what can be lost at the end of the next one, so that it always gains something.
const worthEmptying = 10

// emptiest is the segment with the most gaps, 0 where none is worth it.
func (s *slabs) emptiest() (n uint32) {
	most := s.size / worthEmptying
	for i := range s.segments {
		if seg := &s.segments[i]; seg.filled-seg.live > most && uint32(i) != s.current {
			n, most = uint32(i), seg.filled-seg.live
		}
	}
	return n
}

// compact looks at some more records of a segment that is being emptied, and moves those
// that are still there. It is false where there is nothing to do.
func (s *slabs) compact(entries *table) bool {
	if s.victim == 0 {
		if s.victim, s.cursor = s.emptiest(), 0; s.victim == 0 {
			return false
		}
	}
	n := s.victim
	for until := s.cursor + compactStep; s.victim == n && s.cursor < until; {
		seg := &s.segments[n]
		if s.cursor >= seg.filled {
			s.victim = 0
			break
		}
		where := spot{n, uint32(s.cursor)}
		record := s.at(where)
		s.cursor += recordHead + len(record)
		e := entries.at(number(binary.LittleEndian.Uint32(seg.memory[where.offset:])))
		if e.where != where {
			continue
		}
		to, ok := s.add(e.self, record)
		if !ok {
			return false
		}
		e.where = to
		s.drop(where)
	}
	return true
}
