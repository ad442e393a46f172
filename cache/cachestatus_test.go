package cache

import (
	"testing"
	"time"

	"github.com/selvage-edge/selvage/record"
)

func TestCacheStatusIsBuiltExactly(t *testing.T) {
	tests := []struct {
		c    record.Cache
		want string
	}{
		{record.Cache{Hit: true, HasTTL: true, TTL: time.Second}, "selvage; hit; ttl=1"},
		{record.Cache{Hit: true, HasTTL: true, TTL: 1999 * time.Millisecond}, "selvage; hit; ttl=1"},
		{record.Cache{Hit: true, HasTTL: true, TTL: -time.Millisecond, Stale: true, Detail: "stale-while-revalidate"},
			"selvage; hit; ttl=-1; detail=stale-while-revalidate"},
		{record.Cache{Fwd: "uri-miss", FwdStatus: 200, Stored: true}, "selvage; fwd=uri-miss; stored"},
		{record.Cache{Fwd: "uri-miss", FwdStatus: 200, Collapsed: true}, "selvage; fwd=uri-miss; collapsed"},
		{record.Cache{Fwd: "stale", FwdStatus: 304}, "selvage; fwd=stale; fwd-status=304"},
		{record.Cache{Fwd: "stale", HasTTL: true, TTL: -5 * time.Second, Detail: "stale-if-error"},
			"selvage; fwd=stale; ttl=-5; detail=stale-if-error"},
		{record.Cache{Fwd: "bypass", FwdStatus: 200, Detail: "upgrade"}, "selvage; fwd=bypass; detail=upgrade"},
		{record.Cache{Detail: "only-if-cached"}, "selvage; detail=only-if-cached"},
	}
	for _, tt := range tests {
		if got := cacheStatus(&tt.c); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
