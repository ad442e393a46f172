package cache

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConditionsAreEvaluatedOnTheStoredAnswer(t *testing.T) {
	modified := httpDate(epoch.Add(-time.Hour))
	stored := "Etag: \"a,b\"\nLast-Modified: " + modified + "\nDate: " + httpDate(epoch)
	weak := "Etag: W/\"a,b\""
	tests := []struct {
		request, stored string
		status          int
		want            bool
	}{
		{"", stored, 200, false},
		{`If-None-Match: "a,b"`, stored, 200, true},
		{`If-None-Match: W/"a,b"`, stored, 200, true},
		{`If-None-Match: "a,b"`, weak, 200, true},
		{`If-None-Match: "x", "a,b"`, stored, 200, true},
		{"If-None-Match: \"x\"\nIf-None-Match: \"a,b\"", stored, 200, true},
		{`If-None-Match: "a"`, stored, 200, false},
		{`If-None-Match: a,b`, stored, 200, false},
		{`If-None-Match: "a,b`, stored, 200, false},
		{`If-None-Match: *`, stored, 200, true},
		{`If-None-Match: *`, "", 200, true},
		{`If-None-Match: ""`, "", 200, false},
		{`If-None-Match:`, stored, 200, false},
		{`If-None-Match: ,,,`, stored, 200, false},
		{`If-None-Match: plain`, "Etag: plain", 200, true},
		{`If-None-Match: "a,b"`, stored + "\nEtag: \"c\"", 200, false},
		// If-None-Match wins.
		{"If-None-Match: \"x\"\nIf-Modified-Since: " + modified, stored, 200, false},
		{"If-Modified-Since: " + modified, stored, 200, true},
		{"If-Modified-Since: " + httpDate(epoch), stored, 200, true},
		{"If-Modified-Since: " + httpDate(epoch.Add(-2*time.Hour)), stored, 200, false},
		{"If-Modified-Since: oops", stored, 200, false},
		{"If-Modified-Since: " + modified + "\nIf-Modified-Since: " + httpDate(epoch), stored, 200, false},
		{"If-Modified-Since: " + httpDate(epoch), "Date: " + httpDate(epoch), 200, true},
		{"If-Modified-Since: " + modified, "Date: " + httpDate(epoch), 200, false},
		{"If-Modified-Since: " + httpDate(epoch), "Last-Modified: oops", 200, false},
		// On anything but a 200 there is nothing to be modified.
		{`If-None-Match: "a,b"`, stored, 404, false},
		{`If-None-Match: *`, stored, 301, false},
	}
	for _, tt := range tests {
		if got := isNotModified(head(tt.request), tt.status, head(tt.stored), epoch); got != tt.want {
			t.Errorf("%q on %d %q: not modified %v, want %v", tt.request, tt.status, tt.stored, got, tt.want)
		}
	}
}

func TestAnswerIsFreshenedOnlyByItsOwn304(t *testing.T) {
	tests := []struct {
		stored, got string
		want        bool
	}{
		{`Etag: "a"`, "", true},
		{`Etag: "a"`, `Etag: "a"`, true},
		{`Etag: "a"`, `Etag: "b"`, false},
		{`Etag: "a"`, `Etag: W/"a"`, true},
		{`Etag: W/"a"`, `Etag: W/"a"`, true},
		{`Etag: W/"a"`, `Etag: "a"`, false},
		{`Etag: "a"`, "Etag: \"a\"\nEtag: \"b\"", false},
		{"Last-Modified: x", `Etag: "a"`, false},
		{"Last-Modified: x", "Last-Modified: x", true},
		{"Last-Modified: x", "Last-Modified: y", false},
		{`Etag: "a"`, "Last-Modified: y", true},
	}
	for _, tt := range tests {
		if got := freshens(head(tt.stored), head(tt.got)); got != tt.want {
			t.Errorf("304 with %q freshens %q: %v, want %v", tt.got, tt.stored, got, tt.want)
		}
	}
}

func TestUpdateKeepsWhatDescribesTheStoredBytes(t *testing.T) {
	stored := head(`Content-Type: text/plain
Content-Length: 5
Content-Encoding: gzip
X-Old: kept
X-New: before
Cache-Control: max-age=1`)
	got := updated(stored, head(`Content-Type: text/html
Content-Length: 0
Content-Encoding: br
Content-Range: bytes 0-0/1
X-New: after
X-More: 1
Cache-Control: max-age=9`))
	want := head(`Content-Type: text/plain
Content-Length: 5
Content-Encoding: gzip
X-Old: kept
X-New: after
X-More: 1
Cache-Control: max-age=9`)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if stored.Get("X-New") != "before" {
		t.Error("the update has changed the stored header itself")
	}
}

func TestOriginIsAskedWithWhatTheAnswerHas(t *testing.T) {
	tests := []struct{ stored, want string }{
		{"", ""},
		{`Etag: "a"`, `If-None-Match: "a"`},
		{"Last-Modified: x", "If-Modified-Since: x"},
		{"Etag: \"a\"\nLast-Modified: x", "If-None-Match: \"a\"\nIf-Modified-Since: x"},
		{"Etag: \"a\"\nEtag: \"b\"", ""},
	}
	for _, tt := range tests {
		h := head("")
		asked := askWhether(h, head(tt.stored))
		if d := cmp.Diff(head(tt.want), h); d != "" || asked != (tt.want != "") {
			t.Errorf("asked %v about %q: (-want +got)\n%s", asked, tt.stored, d)
		}
	}
}
