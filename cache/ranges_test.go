package cache

import (
	"bytes"
	"cmp"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
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
		{"bytes=0-1,3-4", span{0, 5}, onePart}, // so near that one is shorter
		{"bytes=3-4, ,0-1,", span{0, 5}, onePart},
		{"bytes=0-1,10-", span{0, 2}, onePart},
		{"bytes=10-,11-", span{}, unsatisfiable},
		{"bytes=0-1,4-2", span{}, wholeBody},
		{"bytes=0-1,x", span{}, wholeBody},
		{"bytes=,", span{}, wholeBody},
		{"bytes=" + strings.Repeat("0-0,", 16), span{0, 1}, onePart},
		{"bytes=" + strings.Repeat("0-0,", 17), span{}, wholeBody},
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
		got, _, v := wantedRange(http.Header{"Range": {tt.value}}, nil, 10, epoch)
		if got != tt.want || v != tt.v {
			t.Errorf("%q of 10 = %v, %d; want %v, %d", tt.value, got, v, tt.want, tt.v)
		}
	}
	if _, _, v := wantedRange(http.Header{"Range": {"bytes=-1"}}, nil, 0, epoch); v != unsatisfiable {
		t.Errorf("the last byte of nothing: got %d, want unsatisfiable", v)
	}
	if _, _, v := wantedRange(http.Header{"Range": {"bytes=0-1", "bytes=2-3"}}, nil, 10, epoch); v != wholeBody {
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
		got, _, v := wantedRange(http.Header{"Range": {value}}, nil, 10, epoch)
		if v == wholeBody || strings.Contains(value, ",") || !strings.HasPrefix(value, "bytes=") { // net/http wants it in lower case
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

func TestSeveralRangesKeepTheirOrderAndNeverOverlap(t *testing.T) {
	tests := []struct {
		value string
		want  []span
	}{
		{"bytes=0-0,500-509", []span{{0, 1}, {500, 10}}},
		{"bytes=500-509,0-0", []span{{500, 10}, {0, 1}}},
		{"bytes=-1,0-0", []span{{999, 1}, {0, 1}}},
		{"bytes=0-0,-1,2000-", []span{{0, 1}, {999, 1}}},
		{"bytes=0-9,5-19,500-500", []span{{0, 20}, {500, 1}}},
		{"bytes=0-9,500-500,5-19", []span{{0, 20}, {500, 1}}},
		{"bytes=0-0,400-400,200-200,900-900,90-310", []span{{0, 401}, {900, 1}}},
	}
	for _, tt := range tests {
		_, got, v := wantedRange(http.Header{"Range": {tt.value}}, nil, 1000, epoch)
		if v != severalParts || !slices.Equal(got, tt.want) {
			t.Errorf("%q of 1000 = %v, %d; want %v", tt.value, got, v, tt.want)
		}
	}
}

// FuzzRanges: whatever the field, parts lie within the body, are never near to
// each other, and hold together no more than the body.
func FuzzRanges(f *testing.F) {
	for _, s := range []string{"0-0,500-509", "-1,0-0", "0-,0-,0-", "100-200,300-400,50-350", "1-1,,999-2000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, set string) {
		_, parts, v := wantedRange(http.Header{"Range": {"bytes=" + set}}, nil, 1000, epoch)
		if (v == severalParts) != (len(parts) > 1) {
			t.Fatalf("%q: %d parts, verdict %d", set, len(parts), v)
		}
		sorted := slices.SortedFunc(slices.Values(parts), func(a, b span) int { return cmp.Compare(a.start, b.start) })
		end := int64(-partOverhead - 1)
		for _, p := range sorted {
			if p.start <= end+partOverhead || p.length < 1 || p.start+p.length > 1000 {
				t.Fatalf("%q: parts %v", set, parts)
			}
			end = p.start + p.length
		}
	})
}

func TestSeveralRangesAreSentAsParts(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		body := strings.Repeat("0123456789", 20_000) // several chunks
		e := newEdge(t, oneMinute, always(200, "Content-Type: text/plain\nEtag: \"a\"", body))
		e.get("/")
		settled()
		r := e.get("/", "Range", "bytes=100000-150001, 3-5, -2", "If-Range", `"a"`)
		kind, params, err := mime.ParseMediaType(r.header.Get("Content-Type"))
		if r.status != 206 || err != nil || kind != "multipart/byteranges" || r.header.Get("Content-Range") != "" {
			t.Fatalf("got %d %v", r.status, r.header)
		}
		if r.header.Get("Content-Length") != strconv.Itoa(len(r.body)) {
			t.Errorf("Content-Length %s of %d bytes", r.header.Get("Content-Length"), len(r.body))
		}
		parts := multipart.NewReader(strings.NewReader(r.body), params["boundary"])
		for _, want := range []struct{ contentRange, body string }{
			{"bytes 100000-150001/200000", body[100000:150002]},
			{"bytes 3-5/200000", "345"},
			{"bytes 199998-199999/200000", "89"},
		} {
			p, err := parts.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(p)
			if string(got) != want.body || err != nil || p.Header.Get("Content-Range") != want.contentRange || p.Header.Get("Content-Type") != "text/plain" {
				t.Errorf("part %v with %d bytes, %v; want %s with %d", p.Header, len(got), err, want.contentRange, len(want.body))
			}
		}
		if _, err := parts.NextPart(); err != io.EOF {
			t.Errorf("behind the last part: %v", err)
		}
		if r := e.get("/", "Range", "bytes=0-0,-1", "If-Range", `"b"`); r.status != 200 || r.body != body {
			t.Errorf("parts of another answer: got %d with %d bytes, want the whole", r.status, len(r.body))
		}
	})
}

func TestSeveralRangesOfWhatIsComingAreSentInItsOrder(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		body := strings.Repeat("0123456789", 100)
		for _, tt := range []struct {
			ranges string
			status int
		}{{"bytes=0-1,-1", 206}, {"bytes=-1,0-1", 200}} {
			var slow *slowBody
			n := 0
			origin := &script{answer: func(req *http.Request) (*http.Response, error) {
				res := reply(req, 200, "Cache-Control: max-age=0, stale-while-revalidate=0\nEtag: \"a\"", body)
				if n++; n > 1 {
					slow = newSlowBody(req)
					res.Header.Set("Cache-Control", "max-age=60")
					res.Body = slow
				}
				return res, nil
			}}
			e := newEdge(t, selvage.Cache{}, origin)
			e.get("/")
			settled()
			done := e.begin(get(t, "http://shop.example/", "Range", tt.ranges))
			settled()
			slow.parts <- body[:500]
			slow.parts <- body[500:]
			close(slow.parts)
			if r := <-done; r.status != tt.status || r.err != nil || tt.status == 200 && r.body != body {
				t.Errorf("%s: got %d with %d bytes, %v; want %d", tt.ranges, r.status, len(r.body), r.err, tt.status)
			}
		}
	})
}
