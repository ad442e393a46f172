package origin

import (
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

func TestOnlyWhatMayBeRepeatedIs(t *testing.T) {
	statuses := []int{502, 503}
	for _, c := range []struct {
		name string
		r    result
		once bool
		want bool
	}{
		{"good answer", result{status: 200, sent: true}, false, false},
		{"bad answer", result{status: 503, sent: true}, false, true},
		{"bad answer that is not listed", result{status: 504, sent: true}, false, false},
		{"bad answer to what must not be repeated", result{status: 503, sent: true}, true, false},
		{"no answer", result{err: selvage.ConnectionTerminated, sent: true}, false, true},
		{"no answer to what must not be repeated", result{err: selvage.ConnectionTerminated, sent: true}, true, false},
		{"no connection for what must not be repeated", result{err: selvage.ConnectionRefused}, true, true},
		{"late answer", result{err: selvage.ResponseTimeout, sent: true}, false, true},
		{"client gone", result{err: selvage.ConnectionTerminated, ours: true}, false, false},
	} {
		if got := repeatable(c.r, c.once, statuses); got != c.want {
			t.Errorf("%s: %v; want %v", c.name, got, c.want)
		}
	}
}

func TestIdempotentMethodsAreThoseOfRFC9110(t *testing.T) {
	for method, want := range map[string]bool{
		"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true,
		"POST": false, "PATCH": false, "CONNECT": false, "get": false, "PURGE": false,
	} {
		if got := idempotent(method); got != want {
			t.Errorf("%s: %v; want %v", method, got, want)
		}
	}
}

func TestBackoffDoubles(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 25, 2: 50, 3: 100, 9: 6400} {
		if got := backoff(25*time.Millisecond, n); got != want*time.Millisecond {
			t.Errorf("before retry %d at most %v; want %v", n, got, want*time.Millisecond)
		}
	}
}

func TestHealthVerdictNeedsSeveralInARow(t *testing.T) {
	var c checks
	bad := errNotH2
	for i, s := range []struct {
		err     error
		changed bool
		down    bool
	}{
		{bad, false, false}, {nil, false, false}, {bad, false, false}, {bad, true, true}, {bad, false, true},
		{nil, false, true}, {bad, false, true}, {nil, false, true}, {nil, false, true}, {nil, true, false}, {nil, false, false},
	} {
		if changed := c.note(s.err, 3, 2); changed != s.changed || c.down != s.down {
			t.Errorf("check %d: changed %v, down %v; want %v, %v", i, changed, c.down, s.changed, s.down)
		}
	}
}
