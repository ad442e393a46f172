package cache

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRangeOfAWholeAnswer(t *testing.T) {
	tests := []struct {
		value string
		want  span
		v     rangeVerdict
	}{
		{"bytes=0-0", span{0, 1}, onePart},
		{"bytes=2-4", span{2, 3}, onePart},
		{"bytes=2-", span{2, 8}, onePart},
		{"bytes=0-99", span{0, 10}, onePart},
		{"bytes=-3", span{7, 3}, onePart},
		{"bytes=-99", span{0, 10}, onePart},
		{"Bytes=9-9", span{9, 1}, onePart},
		{"bytes=10-", span{}, unsatisfiable},
		{"bytes=10-12", span{}, unsatisfiable},
		{"bytes=-0", span{}, unsatisfiable},
		{"bytes=4-2", span{}, wholeBody},
		{"bytes=0-1,3-4", span{}, wholeBody},
		{"bytes=", span{}, wholeBody},
		{"bytes=-", span{}, wholeBody},
		{"bytes=a-b", span{}, wholeBody},
		{"bytes=+1-2", span{}, wholeBody},
		{"bytes=1 - 2", span{}, wholeBody},
		{"bytes=--2", span{}, wholeBody},
		{"bytes=0-99999999999999999999", span{}, wholeBody},
		{"bytes 0-1", span{}, wholeBody},
		{"items=0-1", span{}, wholeBody},
	}
	for _, tt := range tests {
		got, v := wantedRange(http.Header{"Range": {tt.value}}, nil, 10, epoch)
		if got != tt.want || v != tt.v {
			t.Errorf("%q of 10 = %v, %d; want %v, %d", tt.value, got, v, tt.want, tt.v)
		}
	}
	if _, v := wantedRange(http.Header{"Range": {"bytes=-1"}}, nil, 0, epoch); v != unsatisfiable {
		t.Errorf("the last byte of nothing: got %d, want unsatisfiable", v)
	}
	if _, v := wantedRange(http.Header{"Range": {"bytes=0-1", "bytes=2-3"}}, nil, 10, epoch); v != wholeBody {
		t.Errorf("two Range fields: got %d, want the whole", v)
	}
}

func TestIfRangeHoldsStronglyOnly(t *testing.T) {
	hourAgo, now := httpDate(epoch.Add(-time.Hour)), httpDate(epoch)
	tests := []struct {
		ifRange, stored string
		want            bool
	}{
		{`"a"`, `Etag: "a"`, true},
		{`"a"`, `Etag: "b"`, false},
		{`"a"`, `Etag: W/"a"`, false},
		{`W/"a"`, `Etag: W/"a"`, false},
		{`"a"`, "", false},
		{hourAgo, "Last-Modified: " + hourAgo + "\nDate: " + now, true},
		{now, "Last-Modified: " + hourAgo + "\nDate: " + now, false},
		{now, "Last-Modified: " + now + "\nDate: " + now, false}, // changed within the second: weak
		{hourAgo, "Last-Modified: " + hourAgo, false},
		{hourAgo, "Date: " + now, false},
		{"oops", "Last-Modified: " + hourAgo + "\nDate: " + now, false},
	}
	for _, tt := range tests {
		if got := ifRangeHolds([]string{tt.ifRange}, head(tt.stored), epoch); got != tt.want {
			t.Errorf("If-Range %q on %q holds: %v, want %v", tt.ifRange, tt.stored, got, tt.want)
		}
	}
}

// FuzzRange: whatever the field, what is served is what net/http would serve,
// or the whole.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=3-", "bytes=9-9", "bytes=10-", "bytes=-0", "bytes= 1-2"} {
		f.Add(s)
	}
	body := []byte("0123456789")
	f.Fuzz(func(t *testing.T, value string) {
		got, v := wantedRange(http.Header{"Range": {value}}, nil, 10, epoch)
		if v == wholeBody || !strings.HasPrefix(value, "bytes=") { // net/http wants it in lower case
			return
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Range"] = []string{value}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		switch v {
		case onePart:
			if part := body[got.start : got.start+got.length]; !bytes.Equal(part, w.Body.Bytes()) || w.Code != 206 {
				t.Errorf("%q: got %q, net/http %d %q", value, part, w.Code, w.Body)
			}
			if cr := contentRange(got, 10); cr != w.Header().Get("Content-Range") {
				t.Errorf("%q: Content-Range %q, net/http %q", value, cr, w.Header().Get("Content-Range"))
			}
		case unsatisfiable:
			if w.Code != 416 && value != "bytes=-0" {
				t.Errorf("%q: unsatisfiable, net/http %d", value, w.Code)
			}
		}
	})
}
