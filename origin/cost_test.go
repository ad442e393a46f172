package origin

import (
	"io"
	"net/http"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canned is a transport that costs nothing, so that only the pool is measured.
type canned struct{ resp http.Response }

func (c *canned) RoundTrip(*http.Request) (*http.Response, error) {
	c.resp.Body = body{}
	return &c.resp, nil
}
func (c *canned) Open() int  { return 0 }
func (c *canned) CloseIdle() {}
func (c *canned) Close()     {}

type body struct{}

func (body) Read([]byte) (int, error) { return 0, io.EOF }
func (body) Close() error             { return nil }

func cannedPool(t testing.TB, endpoints ...string) (*Pool, *http.Request) {
	r := new(Registry)
	set := standard(endpoints...)
	set.Host = "endpoint"
	p, err := r.Acquire(selvage.DefaultTenant, "shop", "web", set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Release)
	for _, c := range p.members.Load().peers {
		c.rt = &canned{http.Response{StatusCode: 200, ContentLength: 1}}
	}
	req, err := http.NewRequestWithContext(record.NewContext(t.Context(), &record.Record{}), "GET", "http://shop.example/path", nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, req
}

func TestPlainPathStaysWithinItsAllocations(t *testing.T) {
	p, req := cannedPool(t, "http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3")
	var buf [1]byte
	got := testing.AllocsPerRun(1000, func() {
		resp, err := p.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Read(buf[:])
		resp.Body.Close()
	})
	if got > 1 {
		t.Errorf("%v allocations a request; want 1, the attempt", got)
	}
}

func BenchmarkPool(b *testing.B) {
	p, req := cannedPool(b, "http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3")
	var buf [1]byte
	b.ReportAllocs()
	for b.Loop() {
		resp, err := p.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		resp.Body.Read(buf[:])
		resp.Body.Close()
	}
}
