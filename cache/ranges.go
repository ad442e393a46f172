package cache

import (
	"net/http"
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
	unsatisfiable                     // 416
)

// wantedRange evaluates Range and If-Range on a whole answer of the given
// size (RFC 9110, section 14.2). One range is served; several, other units and
// malformed ones are ignored, which is always allowed.
func wantedRange(request, stored http.Header, size int64, received time.Time) (span, rangeVerdict) {
	lines := request["Range"]
	if len(lines) != 1 || !ifRangeHolds(request["If-Range"], stored, received) {
		return span{}, wholeBody
	}
	unit, set, ok := strings.Cut(lines[0], "=")
	set = strings.Trim(set, " \t")
	if !ok || !strings.EqualFold(unit, "bytes") || strings.Contains(set, ",") {
		return span{}, wholeBody
	}
	first, last, ok := strings.Cut(set, "-")
	if !ok {
		return span{}, wholeBody
	}
	return resolve(first, last, size)
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
