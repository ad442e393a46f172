package cache

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// wholeBodyOf is a body that is complete.
func wholeBodyOf(s string) *body {
	b := new(body)
	if len(s) > 0 {
		b.addChunk(len(s))
		copy(b.free(), s)
		b.publish(len(s))
	}
	b.end(nil, nil)
	return b
}

func testKey(name string) Key {
	return Key{Tenant: "main", Service: "shop", Scheme: "http", Host: "shop.example", Path: "/" + name}
}

// stock puts an answer with a body of that size under a name.
func (s *Store) stock(name string, size int, vary ...string) {
	h := http.Header{"Content-Type": {"text/plain"}}
	request := make(http.Header)
	var sel []selector
	for _, v := range vary {
		request["X"] = []string{v}
		sel = selectorsOf([]string{"X"}, request)
	}
	a := &answer{status: 200, header: h, body: wholeBodyOf(strings.Repeat("x", size)), length: int64(size), selectors: sel}
	s.put(testKey(name), request, a, 0)
}

func (s *Store) has(name string) bool {
	k := testKey(name)
	return s.lookup(&k, nil, nil, nil).answer != nil
}

// check compares the store's numbers with what it holds.
func (s *Store) check(t *testing.T) {
	t.Helper()
	var bytes, records int64
	count, opened := 0, 0
	variants, parts := make(map[Key]int), make(map[Key]int)
	for e := range s.objects.all() {
		k := s.keyLocked(e)
		if e.part {
			parts[k]++
		} else {
			variants[k]++
		}
		if e.queue == noQueue || !slices.Contains(slices.Collect(s.ofKey(&k)), e) {
			t.Errorf("entry of %v is queued: %v, or is not found", k, e.queue)
		}
		if e.where == (spot{}) {
			opened++
		} else {
			records += int64(recordHead + len(s.slabs.at(e.where)))
		}
		bytes += e.size
		count++
	}
	for k := range variants {
		if variants[k] > MaxVariants || parts[k] > MaxParts {
			t.Errorf("%v has %d variants and %d parts", k, variants[k], parts[k])
		}
	}
	queued := int64(0)
	for _, q := range []*queue{&s.queues.small, &s.queues.main} {
		for e := s.objects.at(q.oldest); e != nil; e = s.objects.at(e.newer) {
			queued += e.size
		}
	}
	if s.used != bytes || s.count != count || queued != bytes || s.queues.small.bytes+s.queues.main.bytes != bytes {
		t.Errorf("used %d, count %d, queued %d; it holds %d bytes in %d", s.used, s.count, queued, bytes, count)
	}
	if len(s.objects.open) != opened || s.slabs.live != records || s.slabs.mapped != int64(len(s.slabs.owned.of)*s.slabs.size) {
		t.Errorf("%d are open of %d; records take %d bytes of %d, the segments %d", len(s.objects.open), opened, records, s.slabs.live, s.slabs.mapped)
	}
	if s.takenLocked() > s.limit && s.used > 0 && s.reserved <= s.limit/receivingShare {
		t.Errorf("used %d and reserved %d, the limit is %d", s.used, s.reserved, s.limit)
	}
}

func TestStoreKeepsItsBoundWhateverHappens(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	s := NewStore(256 << 10)
	var reserved []int64
	for i := range 20000 {
		name := fmt.Sprint(r.IntN(300))
		switch r.IntN(10) {
		case 0, 1, 2, 3:
			s.stock(name, r.IntN(8<<10))
		case 4:
			s.stock(name, r.IntN(1<<10), fmt.Sprint(r.IntN(50)))
		case 5:
			s.removeAll(testKey(name))
		case 6:
			if n := r.Int64N(64 << 10); s.reserve(n) {
				reserved = append(reserved, n)
			}
		case 7:
			if len(reserved) > 0 {
				s.release(reserved[0])
				reserved = reserved[1:]
			}
		default:
			s.has(name)
		}
		if i%100 == 0 {
			s.check(t)
		}
	}
	s.check(t)
	if got := s.Stats(); got.Evictions == 0 || got.Objects == 0 {
		t.Errorf("the test evicted nothing: %+v", got)
	}
}

func TestAScanDoesNotPushOutWhatIsAskedForAgain(t *testing.T) {
	s := NewStore(1 << 20)
	for i := range 50 {
		s.stock(fmt.Sprint("hot", i), 1000)
	}
	for range 3 {
		for i := range 50 {
			s.has(fmt.Sprint("hot", i))
		}
	}
	for i := range 10000 {
		s.stock(fmt.Sprint("once", i), 1000)
		if i%20 == 0 {
			s.has(fmt.Sprint("hot", i/20%50))
		}
	}
	left := 0
	for i := range 50 {
		if s.has(fmt.Sprint("hot", i)) {
			left++
		}
	}
	if left < 45 { // the sketch takes some for others, by chance
		t.Errorf("%d of 50 hot answers survived the scan", left)
	}
}

func TestWhatWasAskedForOftenIsKnownWhenItComesBack(t *testing.T) {
	s := NewStore(1 << 20)
	for i := range 1000 { // twice what fits, each asked for twice
		s.stock(fmt.Sprint("a", i), 1000)
		s.stock(fmt.Sprint("a", i), 1000)
	}
	for range 4 {
		for i := range 20 {
			s.stock(fmt.Sprint("back", i), 1000)
			s.removeAll(testKey(fmt.Sprint("back", i)))
		}
	}
	for i := range 20 {
		s.stock(fmt.Sprint("back", i), 1000)
		s.stock(fmt.Sprint("new", i), 1000)
	}
	for i := range 200 { // four times what the small queue holds
		s.stock(fmt.Sprint("once", i), 1000)
	}
	back, fresh := 0, 0
	for i := range 20 {
		if s.has(fmt.Sprint("back", i)) {
			back++
		}
		if s.has(fmt.Sprint("new", i)) {
			fresh++
		}
	}
	if back < 16 || fresh > 10 { // the sketch takes some for others, by chance
		t.Errorf("of 20 that came back %d are there, of 20 new ones %d", back, fresh)
	}
}

func TestALargeAnswerNeedsMoreUsesThanWhatItPushesOut(t *testing.T) {
	s := NewStore(1 << 20)
	for i := range 200 {
		s.stock(fmt.Sprint("small", i), 1000)
		s.has(fmt.Sprint("small", i))
	}
	s.stock("large", 200<<10)
	s.has("large")
	for i := range 2000 {
		s.stock(fmt.Sprint("once", i), 1000)
	}
	left := 0
	for i := range 200 {
		if s.has(fmt.Sprint("small", i)) {
			left++
		}
	}
	if s.has("large") || left < 150 {
		t.Errorf("the large one is there: %v, beside %d of 200 small ones that were used as often", s.has("large"), left)
	}
}

func TestSketchCountsAtLeastWhatWasAskedAndForgetsByHalves(t *testing.T) {
	s := newSketch(1024)
	for i := range uint64(100) {
		s.count(i*0x9e3779b97f4a7c15, uint32(i%7+1))
	}
	for i := range uint64(100) {
		if got, want := s.seen(i*0x9e3779b97f4a7c15), int64(i%7+1); got < want {
			t.Errorf("thing %d was asked for %d times, the sketch says %d", i, want, got)
		}
	}
	s.count(1, 200)
	before := s.seen(1)
	for s.added > 0 {
		s.count(2, 1)
	}
	if got := s.seen(1); got != before/2 {
		t.Errorf("after its time the sketch says %d, want half of %d", got, before)
	}
}

func TestRenewedAnswerKeepsItsPlace(t *testing.T) {
	s := NewStore(1 << 20)
	s.stock("hot", 1000)
	for range 3 {
		s.has("hot")
	}
	for i := range 2000 {
		s.stock(fmt.Sprint("once", i), 1000)
	}
	s.stock("hot", 1000)
	for i := range 2000 {
		s.stock(fmt.Sprint("other", i), 1000)
	}
	if !s.has("hot") {
		t.Error("the renewed answer had to begin anew in the small queue")
	}
}

func TestAnswerTakesThePlaceOfAllThatItsRequestSelected(t *testing.T) {
	s := NewStore(1 << 20)
	s.stock("a", 10)
	s.stock("a", 10, "de")
	if got := s.Stats().Objects; got != 1 {
		t.Errorf("%d answers, want the newer one only", got)
	}
	s.stock("a", 10, "fr")
	s.stock("a", 10, "de")
	if got := s.Stats().Objects; got != 2 {
		t.Errorf("%d answers, want one for each language", got)
	}
	s.stock("a", 10)
	s.check(t)
}

func TestHugeHeadIsNotStored(t *testing.T) {
	s := NewStore(64 << 10)
	s.stock("a", 10)
	h := http.Header{"X": {strings.Repeat("x", 100<<10)}}
	s.put(testKey("a"), nil, &answer{status: 200, header: h, body: wholeBodyOf("")}, 0)
	if s.has("a") {
		t.Error("an answer that is larger than the store is stored, or what it replaces still is")
	}
	s.check(t)
}

func TestWhatIsBeingReceivedTakesHalfAtMost(t *testing.T) {
	s := NewStore(1 << 20)
	var got int64
	for s.reserve(16 << 10) {
		got += 16 << 10
	}
	if got > s.limit/2 || got < s.limit/2-16<<10 {
		t.Errorf("%d bytes are reserved, want about half of %d", got, s.limit)
	}
}

// TestCountedBytesAreWhatGoTakes fills a store with small answers, where the
// overhead is largest against the bytes, and looks at the heap.
func TestCountedBytesAreWhatGoTakes(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, size := range []int{0, 100, 1024, 100 << 10} {
		s := NewStore(64 << 20)
		before := heap() // the sketch is not counted in Bytes, but taken off the bound
		e := NewTransport(s, Scope{Tenant: "main", Service: "shop", Policy: selvage.Cache{TTL: selvage.Duration(time.Hour)}},
			always(200, "Content-Type: text/html\nServer: nginx\nEtag: \"abcdefgh\"\nLast-Modified: Sat, 21 Nov 2026 12:00:00 GMT", strings.Repeat("x", size)))
		n := min(5000, 50<<20/(size+2000))
		origin := e.next.(*script)
		for i := range n {
			res, err := e.RoundTrip(get(t, fmt.Sprintf("http://shop.example/product/%d.html", i)))
			if err != nil {
				t.Fatal(err)
			}
			readN(t, res.Body, size)
			res.Body.Close()
			origin.asked = nil
		}
		s.Close()
		if got := s.Stats(); got.Objects != n {
			t.Fatalf("%d of %d answers are stored", got.Objects, n)
		}
		taken, counted := heap()-before+s.slabs.mapped, s.used+s.slabs.slack()
		t.Logf("%d answers of %d bytes: counted %d, heap %d (%d and %d each)", n, size, counted, taken, counted/int64(n), taken/int64(n))
		if taken > counted+counted/20 {
			t.Errorf("answers of %d bytes: the heap and the slabs grew by %d, %d were counted", size, taken, counted)
		}
		runtime.KeepAlive(e)
	}
}

// checkSent: where all that is read is stored, nothing else is being sent.
func (s *Store) checkSent(t *testing.T) {
	t.Helper()
	if n := s.sending.Load(); n != 0 {
		t.Errorf("%d bytes are being sent of what is not stored, want none", n)
	}
}

// Who reads slowly keeps the bytes of what had to go for others.
func TestBoundHoldsWithSlowReaders(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "", strings.Repeat("x", 300<<10)))
		var open []*http.Response
		for i := range 100 {
			res, err := e.RoundTrip(get(t, fmt.Sprintf("http://shop.example/%d", i)))
			if err != nil {
				t.Fatal(err)
			}
			settled()
			open = append(open, res)
			memory := e.store.used + e.store.reserved
			for _, res := range open {
				r, _ := res.Body.(*reader)
				if r != nil && r.b.holders.Load() < oneKeeper {
					memory += r.b.kept() // nobody else has it
				}
			}
			if memory > e.store.limit*105/100 {
				t.Fatalf("with %d readers it takes %d bytes, the limit is %d", len(open), memory, e.store.limit)
			}
		}
		if e.store.Stats().Sending == 0 {
			t.Error("nothing is sent that is not stored any more")
		}
		for _, res := range open {
			if n, err := io.Copy(io.Discard, res.Body); n != 300<<10 || err != nil {
				t.Errorf("got %d bytes, %v", n, err)
			}
			res.Body.Close()
			res.Body.Close()
		}
		settled()
		if s := e.store.Stats(); s.Sending != 0 || s.Receiving != 0 {
			t.Errorf("at the end it counts %+v", s)
		}
		e.store.check(t)
		e.expect("/again", strings.Repeat("x", 300<<10))
	})
}

// A 304 puts the answer with the same bytes into the place of the old one.
func TestConfirmedAnswerThatIsReadIsCountedOnce(t *testing.T) {
	body := strings.Repeat("b", 100<<10) // too large to be packed: who reads a packed one has a copy
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("If-None-Match") != "" {
				return reply(req, 304, "Etag: \"a\"", ""), nil
			}
			return reply(req, 200, "Etag: \"a\"", body), nil
		}})
		e.expect("/", body)
		res, err := e.RoundTrip(get(t, "http://shop.example/"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		e.expect("/", body)
		e.store.checkSent(t)
		e.purge(hard)
		e.store.Forget()
		if e.store.sending.Load() == 0 {
			t.Error("it is read, and not stored any more, and does not count")
		}
		res.Body.Close()
		e.store.checkSent(t)
	})
}
