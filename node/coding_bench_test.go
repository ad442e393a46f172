package node

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/transform"
)

// What a hit costs with the stages of compression around it: as it is stored, and
// in a form that is stored.
func BenchmarkHit(b *testing.B) {
	for _, bench := range []struct {
		name, accept string
		compress     *selvage.Compress
	}{{"plain", "gzip, br", nil}, {"identity", "", &selvage.Compress{}}, {"form", "gzip, br", &selvage.Compress{}}} {
		b.Run(bench.name, func(b *testing.B) {
			reg := &registry{store: cache.NewStore(8 << 20), coders: transform.NewMemory(0)}
			defer reg.store.Close()
			c, err := reg.newCoding(bench.compress)
			if err != nil {
				b.Fatal(err)
			}
			scope := cache.Scope{Tenant: "main", Service: "shop"}
			if c.stored != nil {
				scope.Coder = c.stored
			}
			get := coded(c, cache.NewTransport(reg.store, scope, pages{time.Now()}))
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://shop.example/html", nil)
			if err != nil {
				b.Fatal(err)
			}
			if bench.accept != "" {
				req.Header.Set("Accept-Encoding", bench.accept)
			}
			for _, name := range []string{"Accept", "Accept-Language", "User-Agent", "Sec-Fetch-Site", "Via", "Forwarded"} {
				req.Header.Set(name, "x")
			}
			b.ReportAllocs()
			for b.Loop() {
				res, err := get(req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					b.Fatal(err)
				}
				res.Body.Close()
				if answer, ok := res.Body.(interface{ Recycle() }); ok { // as the node does
					answer.Recycle()
				}
			}
		})
	}
}
