package cache

import (
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// What is not fresh, not plain, or not asked for plainly takes the ordinary way.
func TestOnlyWhatIsFreshAndPlainIsWrittenAsItLies(t *testing.T) {
	for name, tc := range map[string]struct {
		fields string
		asks   []string
		want   bool
	}{
		"plain":                     {"X-A: 1", nil, true},
		"stale":                     {"Cache-Control: max-age=1, stale-while-revalidate=60", nil, false},
		"to be confirmed":           {"Cache-Control: no-cache\nEtag: \"a\"", nil, false},
		"selected by what is added": {"Vary: X-Added", nil, false},
		"method override":           {"X-A: 1", []string{"X-Http-Method-Override", "DELETE"}, false},
		"range":                     {"X-A: 1", []string{"Range", "bytes=0-0"}, false},
		"condition":                 {"Etag: \"a\"", []string{"If-None-Match", `"a"`}, false},
		"proxies before":            {"Via: 1.1 there", nil, false},
		"caches before":             {"Cache-Status: there; hit", nil, false},
		"control character":         {"X-A: a\x01b", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				scope := shop
				scope.Policy, scope.Added = selvage.Cache{TTL: selvage.Duration(time.Minute)}, []string{"X-Added"}
				e := newEdgeFor(t, scope, always(200, tc.fields, "page"))
				e.get("/")
				settled()
				time.Sleep(2 * time.Second)
				req := get(t, "http://shop.example/", tc.asks...)
				r := e.Ready(new(record.Record), req.Header, req.URL)
				if got := r != nil; got != tc.want {
					t.Fatalf("written as it lies: %v, want %v", got, tc.want)
				}
				if r == nil {
					return
				}
				fields := string(r.AppendFields(nil))
				if strings.Contains(fields, "Content-Length") || !strings.Contains(fields, "\r\nAge: 2\r\nCache-Status: selvage; hit; ttl=58\r\n") {
					t.Errorf("fields %q", fields)
				}
				r.Close()
			})
		})
	}
}
