package cache

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// randomAnswer is one with all that an answer may have.
func randomAnswer(r *rand.Rand, t *Transport) *answer {
	text := func() string { return strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(200)) }
	list := func() (out []string) {
		for range r.IntN(4) {
			out = append(out, text())
		}
		return out
	}
	h := make(http.Header)
	for range r.IntN(14) {
		name := fieldNames[r.IntN(len(fieldNames))]
		if r.IntN(3) == 0 {
			name = http.CanonicalHeaderKey("x-" + text())
		}
		h[name] = append(list(), text())
	}
	body := bytes.Repeat([]byte{byte(r.IntN(256))}, r.IntN(3000))
	a := &answer{
		status: 200 + r.IntN(300), header: h, length: int64(len(body)), body: bodyOf([][]byte{body}), tags: list(), groups: list(),
		ledger: t.ledger, position: r.Uint64N(1 << 40), softened: r.Uint64N(1 << 20), surrogate: list(),
		from: provenance{r.Uint64N(1000), r.IntN(2) == 0}, revision: selvage.RevisionID(text()), hadAge: r.IntN(2) == 0, keys: t.keys,
		terms: terms{
			received: time.Now().Add(-time.Duration(r.Int64N(1e15))), initialAge: time.Duration(r.Int64N(1e15)),
			lifetime: time.Duration(r.Int64N(2e15) - 1e15), source: lifetimeSource(r.IntN(8)),
			noCache: r.IntN(2) == 0, immutable: r.IntN(2) == 0, neverStale: r.IntN(2) == 0, spent: r.IntN(2) == 0,
			stale: staleWindows{time.Duration(r.Int64N(1e15)), time.Duration(r.Int64N(1e15))},
		},
	}
	for range r.IntN(3) {
		a.selectors = append(a.selectors, selector{text(), text(), text(), r.IntN(2) == 0})
	}
	return a
}

// TestPackedAnswerIsTheOneThatWasStored is a property of pack and view.
func TestPackedAnswerIsTheOneThatWasStored(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := NewStore(1 << 30)
	tr := NewTransport(s, Scope{Tenant: "main", Service: "shop", Policy: selvage.Cache{Key: &selvage.CacheKey{Headers: []string{"X"}}}}, nil)
	v := new(view) // the same for all: nothing of one may be left in the next
	for i := range 1000 {
		key := Key{
			Tenant: "main", Service: "shop", Scheme: "http", Host: fmt.Sprint(r.Uint64()), Path: fmt.Sprint("/", i), Query: fmt.Sprint(r.Uint64()),
			HasQuery: r.IntN(2) == 0, Rules: tr.keys.text, Fields: fmt.Sprint(r.Uint64()), Content: fmt.Sprint(r.Uint64()),
		}
		want := randomAnswer(r, tr)
		s.mu.Lock()
		s.addLocked(&key, want, uses{})
		e := slices.Collect(s.ofKey(&key))[0]
		if e.where == (spot{}) {
			t.Fatalf("answer %d is not packed", i)
		}
		if got := s.keyLocked(e); got != key {
			t.Fatalf("got the key %v, want %v", got, key)
		}
		got := s.unpackLocked(e, &key, v)
		s.mu.Unlock()
		body, err := io.ReadAll(&reader{b: got.body, end: -1})
		if err != nil || !bytes.Equal(body, slices.Concat(want.body.chunks...)) {
			t.Fatalf("answer %d has another body, or %v", i, err)
		}
		if !got.terms.received.Equal(want.terms.received) {
			t.Fatalf("received at %v, want %v", got.terms.received, want.terms.received)
		}
		one, other := *got, *want
		one.terms.received, one.body, one.serial = other.terms.received, other.body, 0
		if len(one.header)+len(other.header) == 0 {
			one.header = other.header
		}
		if !reflect.DeepEqual(one, other) {
			t.Fatalf("got  %+v\nwant %+v", one, other)
		}
	}
	s.check(t)
}

// TestGapsAreClosedAndNothingIsLost drops and stores at random, so that records move all the time.
func TestGapsAreClosedAndNothingIsLost(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := NewStore(2 << 20)
	body := func(n int) []byte { return bytes.Repeat([]byte{byte(n), byte(n >> 8)}, 20+n%100) }
	found := 0
	for i := range 30000 {
		n := r.IntN(20000)
		name := fmt.Sprint(n)
		if r.IntN(4) == 0 {
			s.removeAll(testKey(name))
		} else {
			a := &answer{status: 200, body: bodyOf([][]byte{body(n)}), length: int64(len(body(n)))}
			s.put(testKey(name), nil, a, 0)
		}
		n = r.IntN(20000)
		k := testKey(fmt.Sprint(n))
		if a := s.lookup(&k, nil, nil, nil).answer; a != nil {
			if found++; !bytes.Equal(a.body.chunks[0], body(n)) {
				t.Fatalf("what is stored as %d is something else", n)
			}
		}
		if i%10000 == 0 {
			s.check(t)
		}
	}
	s.check(t)
	if found == 0 || s.evictions == 0 {
		t.Fatalf("nothing was found, or evicted: %+v", s.Stats())
	}
	if slack := s.slabs.slack(); slack > s.slabs.live/10+6*int64(s.slabs.size) {
		t.Errorf("gaps take %d bytes beside %d of records", slack, s.slabs.live)
	}
	s.Forget()
	if s.slabs.live != 0 || s.slabs.mapped > (emptyKept+1)*int64(s.slabs.size) {
		t.Errorf("an empty store keeps %d bytes of segments, with %d of records", s.slabs.mapped, s.slabs.live)
	}
	s.check(t)
}

// Records of whose size a segment cannot be made full are not written anew for ever.
func TestWhatIsLostAtTheEndOfSegmentsIsNoGap(t *testing.T) {
	s := NewStore(16 << 20)
	key := testKey(strings.Repeat("x", 10))
	one := func(body int) *answer {
		return &answer{status: 200, body: bodyOf([][]byte{make([]byte, body)}), length: int64(body)}
	}
	head := len(s.pack(&key, one(100))) - 100
	size := s.slabs.size/17 + 1 - recordHead - head // sixteen fit, and nearly another one
	for i := range 15000 {
		s.put(testKey(fmt.Sprintf("%010d", i)), nil, one(size), 0)
	}
	if s.evictions == 0 || s.slabs.slack() < s.slabs.live/gapShare {
		t.Errorf("the test means nothing: %+v", s.Stats())
	}
	s.check(t)
}
