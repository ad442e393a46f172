package cache

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// A queue that forgets what was asked for longest ago has nothing left of a loop
// that is longer than itself. What was asked for as often as the newcomer stays
// here, also where packed answers leave gaps in the memory that is their bound.
func TestALoopThatDoesNotFitIsHitInPart(t *testing.T) {
	s := NewStore(45 << 20)
	defer s.Close()
	body := strings.Repeat("a", 2<<10)
	e := NewTransport(s, Scope{Tenant: "main", Service: "shop", Policy: selvage.Cache{TTL: selvage.Duration(time.Hour)}},
		&script{answer: func(req *http.Request) (*http.Response, error) { return reply(req, 200, "", body), nil }})
	const keys, turns = 30_000, 3
	for i := range keys * turns {
		res, err := e.RoundTrip(get(t, fmt.Sprint("http://shop.example/", i%keys)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	stats := s.Stats()
	if stats.Objects > keys*9/10 || stats.Evictions == 0 {
		t.Fatalf("the loop fits: %+v", stats)
	}
	if stats.Hits < keys*turns/50 {
		t.Errorf("%d hits of %d, with room for %d of %d", stats.Hits, keys*turns, stats.Objects, keys)
	}
}
