package cache

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, time.November, 21, 12, 0, 0, 0, time.UTC)

func TestDatesAreReadExactlyButForCaseAndWeekday(t *testing.T) {
	want := time.Date(1994, time.November, 6, 8, 49, 37, 0, time.UTC)
	tests := []struct {
		s  string
		ok bool
	}{
		{"Sun, 06 Nov 1994 08:49:37 GMT", true},
		{"Sunday, 06-Nov-94 08:49:37 GMT", true},
		{"Sun Nov  6 08:49:37 1994", true},
		{"sun, 06 NOV 1994 08:49:37 gmt", true},
		{"SUNDAY, 06-nov-94 08:49:37 Gmt", true},
		{"sun nov  6 08:49:37 1994", true},
		// It was a Sunday, which only a year of two digits needs.
		{"Mon, 06 Nov 1994 08:49:37 GMT", true},
		{"Mon Nov  6 08:49:37 1994", true},
		{"Monday, 06-Nov-94 08:49:37 GMT", false},
		{"Xyz, 06 Nov 1994 08:49:37 GMT", false},
		{"Sun, 6 Nov 1994 08:49:37 GMT", false},
		{"Sun, 06 Nov 1994 08:49:37 UTC", false},
		{"Sun, 06 Nov 1994 08:49:37 PST", false},
		{"Sun, 06 Nov 1994 08:49:37 +0000", false},
		{"Sunday, 06-Nov-94 08:49:37 PST", false},
		{"Sunday, 06-Nov-1994 08:49:37 GMT", false},
		{"Sun, 06 Nov 1994 08:49:37.5 GMT", false},
		{"Sun, 06 Nov 1994 08:49:60 GMT", false},
		{"Sun, 06 Nov 1994 08:49 GMT", false},
		{" Sun, 06 Nov 1994 08:49:37 GMT", false},
		{"Sun, 06 Nov 1994 08:49:37 GMT ", false},
		{"Sun Nov 06 08:49:37 1994", false},
		{"0", false}, {"-1", false}, {"", false}, {"784111777", false},
	}
	for _, tt := range tests {
		got, ok := parseDate(tt.s, epoch)
		if ok != tt.ok || ok && !got.Equal(want) {
			t.Errorf("parseDate(%q) = %v, %v; want ok %v", tt.s, got, ok, tt.ok)
		}
	}
}

func TestTwoDigitYearsAreAtMostFiftyYearsAhead(t *testing.T) {
	for _, tt := range []struct {
		now  int
		s    string
		want int
	}{
		{2026, "Thursday, 01-Jan-76 00:00:00 GMT", 1976}, // 2076 begins 49 years and some months ahead of it …
		{2026, "Wednesday, 01-Jan-76 00:00:00 GMT", 2076},
		{2026, "Friday, 01-Jan-99 00:00:00 GMT", 1999},
		{2080, "Tuesday, 01-Jan-99 00:00:00 GMT", 1999},
		{2080, "Thursday, 01-Jan-99 00:00:00 GMT", 2099},
	} {
		now := time.Date(tt.now, time.November, 21, 0, 0, 0, 0, time.UTC)
		got, ok := parseDate(tt.s, now)
		if ok && got.Year() != tt.want {
			t.Errorf("in %d, %q is of %d, want %d", tt.now, tt.s, got.Year(), tt.want)
		}
		if ok && got.After(now.AddDate(50, 0, 0)) {
			t.Errorf("in %d, %q is %v, more than 50 years ahead", tt.now, tt.s, got)
		}
	}
	got, ok := parseDate("Sunday, 06-Nov-94 08:49:37 GMT", time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC))
	if ok {
		t.Errorf("in 2060 the sixth of November 94 is that of 2094, a Saturday: got %v", got)
	}
}

func TestDateThatStandsTwiceDifferentlyIsNone(t *testing.T) {
	a, b := "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"
	for _, tt := range []struct {
		lines []string
		ok    bool
	}{{nil, false}, {[]string{a}, true}, {[]string{a, a}, true}, {[]string{a, b}, false}} {
		if _, ok := soleDate(tt.lines, epoch); ok != tt.ok {
			t.Errorf("soleDate(%q) ok = %v, want %v", tt.lines, ok, tt.ok)
		}
	}
}

// FuzzDate: what is read as a date is one that net/http reads too, at the same
// moment give or take centuries, and it is never more than 50 years ahead for two digits.
func FuzzDate(f *testing.F) {
	for _, s := range []string{http.TimeFormat, time.RFC850, time.ANSIC, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseDate(s, epoch)
		if !ok {
			return
		}
		if n := len(s) - 3; n > 0 && strings.EqualFold(s[n:], "GMT") {
			s = s[:n] + "GMT" // net/http wants it so
		}
		want, err := http.ParseTime(s)
		if err != nil {
			t.Fatalf("%q is no date, got %v", s, got)
		}
		if got.Year()%100 != want.Year()%100 || got.YearDay() != want.YearDay() && got.Year() == want.Year() {
			t.Errorf("%q: got %v, net/http has %v", s, got, want)
		}
	})
}
