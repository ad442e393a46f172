package cache

import (
	"net/http"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

func TestAStatusHasALifetimeOfItsOwn(t *testing.T) {
	s := func(n int) selvage.Duration { return selvage.Duration(time.Duration(n) * time.Second) }
	r := rules{maxBody: 1000, ttl: time.Minute, ttlStatus: newStatusTTL(map[string]selvage.Duration{"404": s(10), "4xx": s(5), "5xx": 0, "301": s(3600)})}
	tests := []struct {
		status int
		fields string
		want   time.Duration
		why    refusal
	}{
		{200, "", time.Minute, storeIt},
		{404, "", 10 * time.Second, storeIt},
		{410, "", 5 * time.Second, storeIt},
		{301, "", time.Hour, storeIt},
		{501, "", 0, refuseNoLifetime},
		{501, "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", 0, refuseNoLifetime},
		{403, "", 0, refuseNoLifetime},
		{403, "Cache-Control: public", 5 * time.Second, storeIt},
		{404, "Cache-Control: max-age=7", 7 * time.Second, storeIt},
		{501, "Cache-Control: max-age=7", 7 * time.Second, storeIt},
		{404, "Cache-Control: no-store", 0, refuseNoStore},
	}
	for _, tt := range tests {
		x := exchange{status: tt.status, header: head(tt.fields)}
		got, _, why := storable(&x, readAnswerDirectives(x.header["Cache-Control"]), r, epoch)
		if got != tt.want || why != tt.why {
			t.Errorf("%d %q: got %v %q, want %v %q", tt.status, tt.fields, got, why, tt.want, tt.why)
		}
	}
}

func TestIgnoredDirectivesOfRequestsSayNothing(t *testing.T) {
	all := []string{"max-age", "max-stale", "min-fresh", "no-cache", "no-store", "only-if-cached"}
	h := http.Header{"Cache-Control": {"max-age=0, max-stale, min-fresh=5, no-cache, no-store, only-if-cached"}}
	if got := readRequestDirectives(h["Cache-Control"]).without(readIgnored(all)); got != (requestDirectives{}) {
		t.Errorf("got %+v", got)
	}
	for _, name := range all {
		d := readRequestDirectives([]string{name + "=5"})
		if d == (requestDirectives{}) {
			t.Errorf("%s says nothing", name)
		}
		if got := d.without(readIgnored([]string{name})); got != (requestDirectives{}) {
			t.Errorf("%s is not ignored: %+v", name, got)
		}
		for _, other := range all {
			if other != name && d.without(readIgnored([]string{other})) != d {
				t.Errorf("%s goes with %s", name, other)
			}
		}
	}
}
