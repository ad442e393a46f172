package cache

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// What bounds the parts that are fetched and stored.
const (
	// SliceSize is how much is asked of the origin at once for a range of something
	// that is not stored, in bytes. What is asked for begins and ends at multiples
	// of it, so that ranges that lie near to each other need one fetch.
	SliceSize = 1 << 20
	// MaxParts is how many parts are stored for one URL. Beyond it the oldest goes.
	MaxParts = 4096
	// MaxAhead is how many slices are fetched at once before anybody waits for them;
	// they take an eighth of the store at most, or are one. Beyond it a reader waits for his next slice.
	MaxAhead   = 256
	aheadShare = 8
	// maxGaps: an answer from the beginning to the end is put together from stored
	// parts only where no more than so many fetches complete it.
	maxGaps = 4
)

// firstSlice is what the origin is asked for first, as a Range, for one range of
// something that nothing is known about: the slice in which the range begins, or
// the end that it names. It is empty where the request goes on as it is: with
// several ranges, with other units, and with an end that is larger than a slice.
func firstSlice(lines []string, slice int64) string {
	if len(lines) != 1 {
		return ""
	}
	unit, set, _ := strings.Cut(lines[0], "=")
	first, last, ok := strings.Cut(strings.Trim(set, " \t"), "-")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return ""
	}
	if first == "" {
		n, ok := parsePosition(last)
		if !ok || n == 0 || n > slice {
			return ""
		}
		return "bytes=-" + strconv.FormatInt(n, 10)
	}
	from, ok := parsePosition(first)
	if last != "" && ok {
		var to int64
		to, ok = parsePosition(last)
		ok = ok && to >= from
	}
	if !ok || from > math.MaxInt64-slice {
		return ""
	}
	return rangeField(span{from / slice * slice, slice})
}

// rangeField asks for a part.
func rangeField(s span) string {
	return "bytes=" + strconv.FormatInt(s.start, 10) + "-" + strconv.FormatInt(s.end()-1, 10)
}

func (s span) end() int64 { return s.start + s.length }

// holds says whether the position lies in the part.
func (s span) holds(pos int64) bool { return pos >= s.start && pos < s.end() }

// sliceAround is what is asked for at once to have the byte at a position: its
// slice, without what is there already.
func sliceAround(pos, total int64, have []span, slice int64) span {
	start := pos / slice * slice
	for _, gap := range gapsIn(span{start, min(slice, total-start)}, have, int(slice)) {
		if gap.holds(pos) {
			return gap
		}
	}
	return span{pos, 1}
}

func byStart(a, b span) int { return cmp.Compare(a.start, b.start) }

// gapsIn are the parts of s that none of the others holds, in order, no more than most.
func gapsIn(s span, have []span, most int) (gaps []span) {
	pos := s.start
	for _, h := range slices.SortedFunc(slices.Values(have), byStart) {
		if len(gaps) == most || pos >= s.end() {
			break
		}
		if next := min(h.start, s.end()); next > pos {
			gaps = append(gaps, span{pos, next - pos})
		}
		pos = max(pos, h.end())
	}
	if pos < s.end() && len(gaps) < most {
		gaps = append(gaps, span{pos, s.end() - pos})
	}
	return gaps
}

// parseContentRange reads the Content-Range of one part whose whole has a known
// length (RFC 9110, section 14.4). Anything else is not ok.
func parseContentRange(value string) (part span, total int64, ok bool) {
	unit, rest, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return span{}, 0, false
	}
	bounds, size, _ := strings.Cut(rest, "/")
	first, last, _ := strings.Cut(bounds, "-")
	from, ok1 := parsePosition(first)
	to, ok2 := parsePosition(last)
	total, ok3 := parsePosition(size)
	if !ok1 || !ok2 || !ok3 || to < from || to >= total {
		return span{}, 0, false
	}
	return span{from, to - from + 1}, total, true
}

// partOf is which part of which length a 206 brings. It is not ok where it does
// not say so, says something else by its length, or brings several.
func partOf(res *http.Response) (part span, total int64, ok bool) {
	lines := res.Header["Content-Range"]
	if res.StatusCode != http.StatusPartialContent || len(lines) != 1 {
		return span{}, 0, false
	}
	part, total, ok = parseContentRange(lines[0])
	if !ok || res.ContentLength >= 0 && res.ContentLength != part.length {
		return span{}, 0, false
	}
	return part, total, true
}
