package cache

import (
	"net/http"
	"strings"
	"time"
)

// The two obsolete forms of a date (RFC 9110, section 5.6.7). The zone of the
// first is written out: Go would take any three letters for it and read them as GMT.
const (
	rfc850Format  = "Monday, 02-Jan-06 15:04:05 GMT"
	asctimeFormat = "Mon Jan _2 15:04:05 2006"
)

// parseDate reads an HTTP date in any of its three forms. Upper and lower case
// are alike (RFC 9111, section 4.2), and a weekday that does not fit is
// overlooked where the date is whole without it. All else is read exactly: a
// fraction, another zone, a digit too few is not a date.
func parseDate(s string, now time.Time) (t time.Time, ok bool) {
	if n := len(s) - len("GMT"); n > 0 && strings.EqualFold(s[n:], "GMT") {
		s = s[:n] + "GMT"
	}
	for _, layout := range []string{http.TimeFormat, asctimeFormat, rfc850Format} {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		weekday := 3
		if layout == rfc850Format {
			// Two digits of a year that seem more than 50 years ahead mean the
			// past. Only the weekday confirms that, so that it must fit.
			t, weekday = nearestCentury(t, now), 0
		}
		want := t.Format(layout)
		return t, len(s) == len(want) && strings.EqualFold(s[weekday:], want[weekday:])
	}
	return time.Time{}, false
}

// nearestCentury moves t to the last century in which it is at most 50 years ahead of now.
func nearestCentury(t, now time.Time) time.Time {
	limit := now.AddDate(50, 0, 0)
	for t.After(limit) {
		t = t.AddDate(-100, 0, 0)
	}
	for !t.AddDate(100, 0, 0).After(limit) {
		t = t.AddDate(100, 0, 0)
	}
	return t
}

// soleDate reads a field that may stand once only. Lines that differ are no date.
func soleDate(lines []string, now time.Time) (t time.Time, ok bool) {
	if len(lines) == 0 {
		return time.Time{}, false
	}
	for _, other := range lines[1:] {
		if other != lines[0] {
			return time.Time{}, false
		}
	}
	return parseDate(lines[0], now)
}
