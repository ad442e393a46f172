package cache

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// span is a part of a body: from start, length bytes.
type span struct{ start, length int64 }

// rangeVerdict says what becomes of a Range field.
type rangeVerdict int

const (
	wholeBody     rangeVerdict = iota // there is none, or it is ignored
	onePart                           // 206
	severalParts                      // 206 with multipart/byteranges
	unsatisfiable                     // 416
)

// What bounds several ranges (RFC 9110, section 14.2: many small ones are an attack).
const (
	// maxRanges: more than so many ranges are answered with the whole.
	maxRanges = 16
	// partOverhead is about what a part's head takes, in bytes. Ranges that are no
	// farther from each other are served as one.
	partOverhead = 100
)

// wantedRange evaluates Range and If-Range on a whole answer of the given
// size (RFC 9110, section 14.2). Other units, malformed and too many ranges are
// ignored, which is always allowed. one is set for onePart, several for severalParts.
func wantedRange(request, stored http.Header, size int64, received time.Time) (one span, several []span, v rangeVerdict) {
	lines := request["Range"]
	if len(lines) != 1 || !ifRangeHolds(request["If-Range"], stored, received) {
		return span{}, nil, wholeBody
	}
	unit, set, ok := strings.Cut(lines[0], "=")
	set = strings.Trim(set, " \t")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return span{}, nil, wholeBody
	}
	if !strings.Contains(set, ",") {
		one, v = rangeOf(set, size)
		return one, nil, v
	}
	several, v = rangesOf(set, size)
	if len(several) == 1 {
		return several[0], nil, onePart
	}
	return span{}, several, v
}

// rangeOf resolves one range of a set.
func rangeOf(s string, size int64) (span, rangeVerdict) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		return span{}, wholeBody
	}
	return resolve(first, last, size)
}

// rangesOf resolves a set of ranges, in its order. Those that lie beyond the end
// fall away; those that overlap or nearly touch are one, in the first one's place
// (RFC 9110, section 15.3.7.2).
func rangesOf(set string, size int64) (parts []span, v rangeVerdict) {
	v = wholeBody
	count := 0
	for member := range strings.SplitSeq(set, ",") {
		member = strings.Trim(member, " \t")
		if member == "" {
			continue
		}
		if count++; count > maxRanges {
			return nil, wholeBody
		}
		part, is := rangeOf(member, size)
		switch is {
		case wholeBody:
			return nil, wholeBody
		case onePart:
			parts = merge(parts, part)
		}
		v = unsatisfiable
	}
	if len(parts) > 0 {
		v = severalParts
	}
	return parts, v
}

// merge adds a part to others, none of which are near to each other, so that this holds again.
func merge(parts []span, part span) []span {
	place := len(parts)
	for i := 0; i < len(parts); i++ {
		p := parts[i]
		if p.start > part.start+part.length+partOverhead || part.start > p.start+p.length+partOverhead {
			continue
		}
		end := max(p.start+p.length, part.start+part.length)
		part.start = min(p.start, part.start)
		part.length = end - part.start
		parts = slices.Delete(parts, i, i+1)
		// It is larger now, and may touch those that it did not before.
		place, i = min(place, i), -1
	}
	return slices.Insert(parts, min(place, len(parts)), part)
}

// ascend says whether the parts follow each other as they stand in the body.
func ascend(parts []span) bool {
	return slices.IsSortedFunc(parts, func(a, b span) int { return cmp.Compare(a.start, b.start) })
}

// resolve turns first-last, first- or -length into a part of a body of that size.
func resolve(first, last string, size int64) (span, rangeVerdict) {
	if first == "" {
		n, ok := parsePosition(last)
		switch {
		case !ok:
			return span{}, wholeBody
		case n == 0 || size == 0:
			return span{}, unsatisfiable
		}
		n = min(n, size)
		return span{size - n, n}, onePart
	}
	from, ok := parsePosition(first)
	to := size - 1
	if last != "" && ok {
		to, ok = parsePosition(last)
		ok = ok && to >= from
	}
	switch {
	case !ok:
		return span{}, wholeBody
	case from >= size:
		return span{}, unsatisfiable
	}
	return span{from, min(to, size-1) - from + 1}, onePart
}

// parsePosition reads digits only; what overflows is no position.
func parsePosition(s string) (int64, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// ifRangeHolds compares If-Range strongly (RFC 9110, section 13.1.5). A date
// holds if it is exactly the stored one, and that one a strong validator: a
// second at least before the answer was made.
func ifRangeHolds(lines []string, stored http.Header, received time.Time) bool {
	if len(lines) == 0 {
		return true
	}
	if len(lines) > 1 {
		return false
	}
	value := strings.Trim(lines[0], " \t")
	if strings.HasPrefix(value, `"`) || isWeak(value) {
		return len(stored["Etag"]) == 1 && strongEqual(value, stored["Etag"][0])
	}
	asked, ok := parseDate(value, received)
	modified, known := soleDate(stored["Last-Modified"], received)
	made, dated := soleDate(stored["Date"], received)
	return ok && known && dated && asked.Equal(modified) && !made.Before(modified.Add(time.Second))
}

// contentRange is the field of a 206 (RFC 9110, section 14.4).
func contentRange(s span, size int64) string {
	var buf [64]byte
	b := strconv.AppendInt(append(buf[:0], "bytes "...), s.start, 10)
	b = strconv.AppendInt(append(b, '-'), s.start+s.length-1, 10)
	b = strconv.AppendInt(append(b, '/'), size, 10)
	return string(b)
}
