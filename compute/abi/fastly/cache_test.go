package fastly

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const second = uint64(time.Second)

// options puts the options of a write at 512; texts go to 700 and 800.
func (b *bench) options(maxAge, stale uint64, vary, keys string) {
	clear(b.p.memory[512:600])
	b.put64(512, maxAge)
	copy(b.p.memory[700:], vary)
	b.put32(524, 700)
	b.put32(528, uint32(len(vary)))
	b.put64(544, stale)
	copy(b.p.memory[800:], keys)
	b.put32(552, 800)
	b.put32(556, uint32(len(keys)))
}

const allOptions = writeVary | writeStale | writeKeys

// state is the state of a cache handle.
func (b *bench) state(h uint32) uint32 {
	b.t.Helper()
	b.must("cache.get_state", h, 0)
	return b.u32(0)
}

// begin begins a transaction.
func (b *bench) begin(key string) uint32 {
	b.t.Helper()
	b.must("cache.transaction_lookup", text(key), 0, 0, 0)
	return b.u32(0)
}

// store brings what a transaction is obliged to.
func (b *bench) store(h uint32, value string) {
	b.t.Helper()
	b.must("cache.transaction_insert", h, allOptions, 512, 0)
	body := b.u32(0)
	b.must("http_body.write", body, text(value), 0, 0)
	b.must("http_body.close", body)
}

// found is the body of what was found.
func (b *bench) found(h uint32) string {
	b.t.Helper()
	b.must("cache.get_body", h, 0, 512, 0)
	body := b.u32(0)
	out := b.read(body)
	b.must("http_body.close", body)
	return out
}

func TestAnObjectIsUsableForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Objects: &Objects{}}, nil, nil)
		defer b.end()
		h := b.begin("k")
		if s := b.state(h); s != stateMustInsert {
			t.Fatalf("nothing is there: state %b", s)
		}
		b.refused(None, "cache.get_body", h, 0, 512, 0)
		b.options(60*second, 30*second, "", "tag")
		b.store(h, "value")
		b.refused(BadHandle, "cache.transaction_insert", h, allOptions, 512, 0)
		time.Sleep(60*time.Second - 1)
		h = b.begin("k")
		if s := b.state(h); s != stateFound|stateUsable || b.found(h) != "value" {
			t.Errorf("fresh: state %b", s)
		}
		b.must("cache.get_age_ns", h, 8)
		if got := b.u64(8); got != 60*second-1 {
			t.Errorf("age: got %d", got)
		}
		b.must("cache.get_length", h, 8)
		if got := b.u64(8); got != 5 {
			t.Errorf("length: got %d", got)
		}
		time.Sleep(time.Nanosecond)
		h = b.begin("k")
		if s := b.state(h); s != stateFound|stateUsable|stateStale|stateMustInsert {
			t.Errorf("stale, the first: state %b", s)
		}
		if s := b.state(b.begin("k")); s != stateFound|stateUsable|stateStale {
			t.Errorf("stale, the second, while the first refreshes: state %b", s)
		}
		b.options(100*second, 0, "", "")
		b.must("cache.transaction_update", h, 0, 512)
		h = b.begin("k")
		if s := b.state(h); s != stateFound|stateUsable || b.found(h) != "value" {
			t.Errorf("refreshed: state %b", s)
		}
		b.must("cache.get_max_age_ns", h, 8)
		if b.u64(8) != 100*second {
			t.Errorf("max age: got %d", b.u64(8))
		}
		time.Sleep(100 * time.Second)
		if s := b.state(b.begin("k")); s != stateMustInsert {
			t.Errorf("over: state %b", s)
		}
	})
}

func TestOneBringsAndTheOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := &Objects{}
		leader := newBench(t, Options{Objects: objects}, nil, nil)
		h := leader.begin("k")
		got := make(chan string, 3)
		for range 3 {
			go func() {
				b := newBench(t, Options{Objects: objects}, nil, nil)
				defer b.end()
				got <- b.found(b.begin("k"))
			}()
		}
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("somebody did not wait")
		}
		leader.options(second, 0, "", "")
		leader.must("cache.transaction_insert", h, allOptions, 512, 0)
		body := leader.u32(0)
		leader.must("http_body.write", body, text("one "), 0, 0)
		synctest.Wait() // they have the object, and read what is there
		leader.must("http_body.write", body, text("two"), 0, 0)
		leader.must("http_body.close", body)
		for range 3 {
			if s := <-got; s != "one two" {
				t.Errorf("a waiter got %q", s)
			}
		}
		leader.end()
	})
}

func TestAnObligationGivenBackGoesToOneWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := &Objects{}
		leader, next := newBench(t, Options{Objects: objects}, nil, nil), newBench(t, Options{Objects: objects}, nil, nil)
		leader.begin("k")
		next.must("cache.transaction_lookup_async", text("k"), 0, 0, 0)
		busy := next.u32(0)
		next.must("async_io.is_ready", busy, 0)
		if next.u32(0) != 0 {
			t.Error("a busy handle is ready")
		}
		leader.end() // without having brought it
		next.put32(512, busy)
		next.must("async_io.select", 512, 1, 0, 0)
		next.must("cache.cache_busy_handle_wait", busy, 0)
		h := next.u32(0)
		if s := next.state(h); s != stateMustInsert {
			t.Errorf("state %b", s)
		}
		next.must("cache.transaction_cancel", h)
		next.refused(BadHandle, "cache.transaction_cancel", h)
		next.end()
	})
}

func TestObjectsVary(t *testing.T) {
	b := newBench(t, Options{Objects: &Objects{}}, nil, nil)
	defer b.end()
	put := func(language, value string) {
		b.must("http_req.new", 0)
		req := b.u32(0)
		b.must("http_req.header_insert", req, text("accept-language"), text(language))
		b.options(60*second, 0, "Accept-Language", "")
		b.put32(520, req)
		b.must("cache.insert", text("k"), allOptions|writeHeaders, 512, 0)
		body := b.u32(0)
		b.must("http_body.write", body, text(value), 0, 0)
		b.must("http_body.close", body)
	}
	put("de", "Guten Tag")
	put("fr", "Bonjour")
	look := func(language string) uint32 {
		b.must("http_req.new", 0)
		b.must("http_req.header_insert", b.u32(0), text("accept-language"), text(language))
		b.put32(512, b.u32(0))
		b.must("cache.lookup", text("k"), lookupHeaders, 512, 0)
		return b.u32(0)
	}
	if got := b.found(look("de")) + b.found(look("fr")); got != "Guten TagBonjour" {
		t.Errorf("got %q", got)
	}
	if s := b.state(look("it")); s != 0 {
		t.Errorf("a language that is not there: state %b", s)
	}
}

// Programs in JavaScript that give a length do not close what they have written.
func TestAnObjectIsWholeAtItsLength(t *testing.T) {
	objects := &Objects{}
	b := newBench(t, Options{Objects: objects}, nil, nil)
	write := func(key, value string, length uint32) {
		b.options(60*second, 0, "", "")
		b.put32(512+48, length)
		b.must("cache.insert", text(key), writeLength, 512, 0)
		b.must("http_body.write", b.u32(0), text(value), 0, 0)
	}
	look := func(key string) uint32 {
		b.must("cache.lookup", text(key), 0, 512, 0)
		return b.u32(0)
	}
	write("whole", "meow", 4)
	if got := b.found(look("whole")); got != "meow" {
		t.Errorf("got %q", got)
	}
	write("half", "meow", 5)
	b.end()
	b = newBench(t, Options{Objects: objects}, nil, nil)
	defer b.end()
	if got := b.found(look("whole")); got != "meow" {
		t.Errorf("by another request: got %q", got)
	}
	if s := b.state(look("half")); s != 0 {
		t.Errorf("what is shorter than it was to be is kept: state %b", s)
	}
}

func TestAPurgeOfAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := &Objects{}
		b := newBench(t, Options{Objects: objects}, nil, nil)
		defer b.end()
		for _, key := range []string{"a", "b"} {
			h := b.begin(key)
			b.options(60*second, 10*second, "", "all only-"+key)
			b.store(h, "value")
		}
		b.must("purge.purge_surrogate_key", text("only-a"), 0, 0)
		if s := b.state(b.begin("a")); s != stateMustInsert {
			t.Errorf("purged: state %b", s)
		}
		b.must("purge.purge_surrogate_key", text("all"), purgeSoft, 0)
		h := b.begin("b")
		if s := b.state(h); s != stateFound|stateUsable|stateStale|stateMustInsert {
			t.Errorf("purged softly: state %b", s)
		}
		b.must("cache.close", h)
		time.Sleep(60*time.Second - 1)
		h = b.begin("b")
		if s := b.state(h); s != stateFound|stateUsable|stateStale|stateMustInsert {
			t.Errorf("purged softly, and still within its time: state %b", s)
		}
		b.must("cache.close", h)
		time.Sleep(10*time.Second + 1)
		if s := b.state(b.begin("b")); s != stateMustInsert {
			t.Errorf("purged softly, and its stale time over: state %b", s)
		}
	})
}

func TestAPurgeCatchesWhatIsOnItsWay(t *testing.T) {
	objects := &Objects{}
	b := newBench(t, Options{Objects: objects}, nil, nil)
	defer b.end()
	h := b.begin("k")
	objects.Purge("tag", false)
	b.options(60*second, 0, "", "tag")
	b.store(h, "asked for before the purge")
	h = b.begin("k")
	if s := b.state(h); s != stateMustInsert {
		t.Errorf("state %b", s)
	}
	b.options(60*second, 0, "", "tag")
	b.store(h, "asked for after it")
	if got := b.found(b.begin("k")); got != "asked for after it" {
		t.Errorf("got %q", got)
	}
	objects.PurgeAll(false)
	if s := b.state(b.begin("k")); s != stateMustInsert {
		t.Errorf("all purged: state %b", s)
	}
}

func TestPartsOfAnObject(t *testing.T) {
	b := newBench(t, Options{Objects: &Objects{}}, nil, nil)
	defer b.end()
	b.options(60*second, 0, "", "")
	b.store(b.begin("k"), "0123456789")
	h := b.begin("k")
	for _, c := range []struct {
		mask     int
		from, to uint64
		want     string
	}{
		{bodyFrom, 7, 0, "789"}, {bodyFrom | bodyTo, 2, 4, "234"}, {bodyTo, 0, 3, "789"},
		{bodyFrom, 10, 0, "0123456789"}, {bodyFrom | bodyTo, 8, 99, "0123456789"}, {bodyTo, 0, 11, "0123456789"},
	} {
		b.put64(512, c.from)
		b.put64(520, c.to)
		b.must("cache.get_body", h, c.mask, 512, 0)
		body := b.u32(0)
		b.refused(BadHandle, "cache.get_body", h, c.mask, 512, 4)
		if got := b.read(body); got != c.want {
			t.Errorf("mask %b, %d to %d: got %q, want %q", c.mask, c.from, c.to, got, c.want)
		}
		b.must("http_body.close", body)
	}
	b.put64(512, 4)
	b.put64(520, 2)
	b.refused(Invalid, "cache.get_body", h, bodyFrom|bodyTo, 512, 0)
}

// The cases of Fastly's own local server: what a guest was told of an object's length when it
// found it stays, and what turns out not to be as long as it was said to become is an error.
func TestTheLengthOfAnObjectIsWhatItWasWhenItWasFound(t *testing.T) {
	b := newBench(t, Options{Objects: &Objects{}}, nil, nil)
	defer b.end()
	b.options(60*second, 0, "", "")
	b.must("cache.insert", text("k"), 0, 512, 0)
	writer := b.u32(0)
	look := func(mask uint32) uint32 {
		b.must("cache.lookup", text("k"), mask, 900, 0)
		return b.u32(0)
	}
	early, ranged := look(0), look(lookupUseRanges)
	b.refused(None, "cache.get_length", early, 8)
	b.put64(512, 4)
	b.put64(520, 6)
	b.must("cache.get_body", early, bodyFrom|bodyTo, 512, 0)
	whole := b.u32(0)
	b.put64(520, 10)
	b.must("cache.get_body", ranged, bodyFrom|bodyTo, 512, 0)
	beyond := b.u32(0)
	b.must("http_body.write", writer, text("0123456789"), 0, 0)
	b.must("http_body.close", writer)
	if got := b.read(whole); got != "0123456789" {
		t.Errorf("a part of what has no known length is all of it: %q", got)
	}
	b.must("http_body.read", beyond, buffer, 6, 0)
	b.refused(Failed, "http_body.read", beyond, buffer, 6, 0)
	b.refused(None, "cache.get_length", early, 8)
	b.must("cache.get_length", look(0), 8)
	if b.u64(8) != 10 {
		t.Errorf("length %d", b.u64(8))
	}
}

func TestWhatHasNotTheLengthThatItWasToHaveIsAnError(t *testing.T) {
	for name, length := range map[string]uint32{"less than was said": 14, "more than was said": 6} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Options{Objects: &Objects{}}, nil, nil)
			defer b.end()
			b.options(60*second, 0, "", "")
			b.put32(512+48, length)
			b.must("cache.insert", text("k"), writeLength, 512, 0)
			writer := b.u32(0)
			b.must("cache.lookup", text("k"), 0, 900, 0)
			h := b.u32(0)
			b.must("cache.get_length", h, 8)
			b.must("cache.get_body", h, 0, 512, 0)
			body := b.u32(0)
			b.must("http_body.write", writer, text("0123"), 0, 0)
			b.must("http_body.write", writer, text("456789"), 0, 0)
			b.must("http_body.write", writer, text(""), 0, 0)
			b.must("http_body.close", writer)
			read := 0
			for {
				status := b.call("http_body.read", body, buffer, bufferSize, 0)
				if status != OK {
					break
				}
				if read += int(b.u32(0)); b.u32(0) == 0 {
					t.Fatalf("it ended well, after %d of %d bytes", read, length)
				}
			}
			b.must("cache.lookup", text("k"), 0, 900, 0)
			if s := b.state(b.u32(0)); s != 0 {
				t.Errorf("it is stored: state %b", s)
			}
		})
	}
}

// A writer that is told nothing holds what it wrote no longer than its object does.
func TestWhatIsLongerThanWasSaidIsNotKept(t *testing.T) {
	objects := &Objects{}
	tooMuch := newContent(objects, 4)
	for _, text := range []string{"0123", "4", "5"} {
		if n, err := tooMuch.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("%q: wrote %d, %v", text, n, err)
		}
	}
	if len(tooMuch.data) > 0 || objects.loose != 0 {
		t.Errorf("%d bytes are kept, and %d counted", len(tooMuch.data), objects.loose)
	}
}

func TestObjectsAreBounded(t *testing.T) {
	var hit []string
	objects := &Objects{Bytes: 10_000, ObjectBytes: 4000, OnLimit: func(limit string) { hit = append(hit, limit) }}
	b := newBench(t, Options{Objects: objects}, nil, nil)
	defer b.end()
	for i := range 20 {
		b.options(60*second, 0, "", "tag")
		b.store(b.begin(fmt.Sprint("k", i)), strings.Repeat("x", 1000))
	}
	if objects.used > 10_000 || len(hit) == 0 || hit[0] != LimitObjects {
		t.Errorf("%d bytes of 10,000, limits %q", objects.used, hit)
	}
	if s := b.state(b.begin("k19")); s&stateFound == 0 {
		t.Error("the newest is gone")
	}
	if s := b.state(b.begin("k0")); s&stateFound != 0 {
		t.Error("the oldest is there")
	}
	h := b.begin("large")
	b.must("cache.transaction_insert", h, 0, 512, 0)
	body := b.u32(0)
	b.must("http_body.write", body, text(strings.Repeat("x", 4000)), 0, 0)
	b.refused(LimitExceeded, "http_body.write", body, text("x"), 0, 0)
	if s := b.state(b.begin("large")); s != stateMustInsert {
		t.Errorf("one that is too large: state %b", s)
	}
	objects.PurgeAll(false)
	if objects.used != 0 || len(objects.tags) != 0 {
		t.Errorf("after a purge of all: %d bytes, %d tags", objects.used, len(objects.tags))
	}
}

func TestWhatWasNotWrittenToItsEndIsNotStored(t *testing.T) {
	objects := &Objects{}
	b := newBench(t, Options{Objects: objects}, nil, nil)
	b.options(60*second, 0, "", "")
	b.must("cache.transaction_insert_and_stream_back", b.begin("k"), allOptions, 512, 0, 4)
	body, back := b.u32(0), b.u32(4)
	b.must("http_body.write", body, text("half"), 0, 0)
	b.must("cache.get_body", back, 0, 512, 0)
	reader := b.u32(0)
	b.must("http_body.read", reader, buffer, bufferSize, 0)
	b.must("http_body.abandon", body)
	b.refused(Failed, "http_body.read", reader, buffer, bufferSize, 0)
	b.end()
	if objects.used != 0 {
		t.Errorf("%d bytes are kept of it", objects.used)
	}
}

func TestGuestsWithoutACacheAreTold(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	defer b.end()
	b.refused(Unsupported, "cache.lookup", text("k"), 0, 0, 0)
	b.must("http_req.new", 0)
	b.refused(Unsupported, "http_cache.is_request_cacheable", b.u32(0), 0)
}
