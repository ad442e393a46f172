package cache

import (
	"net/http"
	"strings"
	"time"
)

// ageValue is the Age field of an answer (RFC 9111, section 5.1): the first
// member of a list counts, anything but digits is ignored.
func ageValue(lines []string) (age time.Duration, ok bool) {
	if len(lines) == 0 {
		return 0, false
	}
	first, _, _ := strings.Cut(lines[0], ",")
	return parseSeconds(strings.Trim(first, " \t"))
}

// initialAge is the age of an answer when it came (RFC 9111, section 4.2.3):
// corrected_initial_age. Date has whole seconds, so they are compared with whole seconds.
func initialAge(h http.Header, requested, received time.Time) time.Duration {
	var apparent time.Duration
	if date, ok := soleDate(h["Date"], received); ok {
		apparent = min(max(0, received.Truncate(time.Second).Sub(date)), maxDelta)
	}
	value, _ := ageValue(h["Age"])
	delay := max(0, received.Sub(requested))
	return min(max(apparent, value+delay), maxDelta)
}
