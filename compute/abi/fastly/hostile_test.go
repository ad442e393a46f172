package fastly

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage/compute"
)

// kinds makes a handle of every kind, by its name.
func (b *bench) kinds() map[string]uint32 {
	b.t.Helper()
	out := map[string]uint32{"none": invalidHandle, "zero": 0, "never given": 4000}
	made := func(kind string, at int, name string, args ...any) {
		b.must(name, args...)
		out[kind] = b.u32(at)
	}
	made("request", 0, "http_req.body_downstream_get", 0, 4)
	out["body"] = b.u32(4)
	made("closed", 0, "http_body.new", 0)
	b.must("http_body.close", out["closed"])
	made("own request", 0, "http_req.new", 0)
	b.must("http_req.uri_set", out["own request"], text("http://a/"))
	made("response", 0, "http_resp.new", 0)
	made("own body", 0, "http_body.new", 0)
	b.must("http_body.write", out["own body"], text("own"), 0, 0)
	out["own body"] = b.u32(0) // what was written: a number that may be a handle of anything
	made("config", 0, "config_store.open", text("c"), 0)
	made("secrets", 0, "secret_store.open", text("s"), 0)
	made("secret", 0, "secret_store.get", out["secrets"], text("a"), 0)
	made("store", 0, "kv_store.open", text("k"), 0)
	made("lookup", 0, "kv_store.lookup", out["store"], text("key"), 0, 0, 0)
	made("acl", 0, "acl.open", text("l"), 0)
	made("endpoint", 0, "log.endpoint_get", text("e"), 0)
	made("transaction", 0, "cache.transaction_lookup", text("key"), 0, 0, 0)
	made("busy", 0, "cache.transaction_lookup_async", text("other"), 0, 0, 0)
	made("promise", 0, "http_downstream.next_request", 0, 0, 0)
	made("streaming", 0, "http_body.new", 0)
	made("sent", 0, "http_req.new", 0)
	b.must("http_req.uri_set", out["sent"], text("http://a/"))
	b.must("http_req.send_async_streaming", out["sent"], out["streaming"], text("a"), 0)
	out["pending"] = b.u32(0)
	b.put64(600, 60*second) // how long it is fresh
	made("writer", 0, "cache.insert", text("stored"), 0, 600, 0)
	b.must("http_body.write", out["writer"], text("stored"), 0, 0)
	made("found", 0, "cache.lookup", text("stored"), 0, 600, 0)
	made("stored body", 0, "cache.get_body", out["found"], 0, 600, 0)
	made("of the HTTP cache", 0, "http_cache.transaction_lookup", out["own request"], 0, 0, 0)
	made("list", 0, "kv_store.list", out["store"], 0, 600, 0)
	made("deletion", 0, "kv_store.delete", out["store"], text("key"), 0, 0, 0)
	made("value", 0, "http_body.new", 0)
	made("insertion", 0, "kv_store.insert", out["store"], text("key"), out["value"], 0, 700, 0)
	b.must("http_req.new", 0)
	req := b.u32(0)
	b.must("http_req.uri_set", req, text("http://a/"))
	b.must("http_body.new", 0)
	made("origin's response", 0, "http_req.send", req, b.u32(0), text("a"), 0, 4)
	out["origin's body"] = b.u32(4)
	return out
}

// TestHandlesOfAnotherKindAreErrors calls every function with a handle of every kind, and with
// addresses, lengths and places for results that are all the same, or at the memory's end.
func TestHandlesOfAnotherKindAreErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // what waits waits in no time, and what waits for ever ends with the request
		b := newKindsBench(t)
		kinds := slices.Sorted(maps.Keys(b.kinds()))
		b.end()
		for k, kind := range kinds {
			ofKind(t, kind, func(i int) uint64 { return []uint64{512, buffer, 1<<16 - 4}[(i+k)%3] })
		}
	})
}

func newKindsBench(t *testing.T) *bench {
	t.Helper()
	return newBench(t, everything(), httptest.NewRequest("POST", "http://a/", strings.NewReader("body")), fetched(200, "answer"))
}

// ofKind calls all functions with handles of a kind. What a function did something to is made anew
// for the next: most do nothing to most kinds.
func ofKind(t *testing.T, kind string, address func(i int) uint64) {
	var b *bench
	var h uint32
	outside := strings.Repeat("\xa5", 64)
	all := append(make([]byte, 1<<16), outside...)
	for i, fn := range Table() {
		at := address(i)
		args := slices.Repeat([]uint64{at}, len(fn.Params))
		for k := range args {
			if b == nil {
				b = newKindsBench(t)
				h = b.kinds()[kind]
				b.p.memory = all[:1<<16]
			}
			binary.LittleEndian.PutUint32(all[512:], h)
			for n := 512; n < 1<<16-512; n *= 2 { // handles of the kind all over
				copy(all[512+n:1<<16], all[512:512+n])
			}
			args[k] = uint64(h)
			made, live := len(b.x.handles.items), b.x.handles.live
			status := b.x.run(b.x.context(), b.p, fn.call, args)
			if status > Again {
				t.Errorf("%s.%s of a handle of kind %s at %d answers %d", fn.Module, fn.Name, kind, at, status)
			}
			args[k] = at
			if status == OK || len(b.x.handles.items) != made || b.x.handles.live != live {
				b.end()
				b = nil
			}
		}
		if string(all[1<<16:]) != outside {
			t.Fatalf("%s.%s wrote outside of the memory", fn.Module, fn.Name)
		}
	}
	if b != nil {
		b.end()
	}
}

func TestWhatWouldSplitAMessageIsRefused(t *testing.T) {
	b := newBench(t, everything(), nil, nil)
	defer b.end()
	b.must("http_req.new", 0)
	req := b.u32(0)
	b.must("http_resp.new", 0)
	resp := b.u32(0)
	b.must("http_body.new", 0)
	body := b.u32(0)
	for _, bad := range []string{"\r\n", "\r", "\n", "\x00", "\x7f", "\x0b"} {
		for at := range 3 {
			s := text([]string{bad + "x", "x" + bad + "y", "x" + bad}[at])
			for _, f := range []string{"http_req.header_insert", "http_req.header_append", "http_resp.header_insert", "http_resp.header_append", "http_body.trailer_append"} {
				h := map[string]uint32{"http_req": req, "http_resp": resp, "http_body": body}[f[:strings.Index(f, ".")]]
				b.refused(HTTPInvalid, f, h, s, text("v"))
				b.refused(HTTPInvalid, f, h, text("n"), s)
			}
			if bad != "\x00" {
				b.refused(HTTPInvalid, "http_resp.header_values_set", resp, text("n"), s+"\x00")
			}
			b.refused(HTTPInvalid, "http_resp.header_values_set", resp, s, text("v\x00"))
			b.refused(HTTPInvalid, "http_req.method_set", req, s)
			b.refused(HTTPInvalid, "http_req.uri_set", req, "http://a/"+s)
			b.refused(HTTPInvalid, "http_req.uri_set", req, "http://"+s+"/")
			b.refused(Invalid, "http_req.cache_override_v2_set", req, 1, 0, 0, s)
		}
	}
	b.must("http_req.header_names_get", req, buffer, bufferSize, 0, 8, 0)
	if got := b.got(); got != "" {
		t.Errorf("fields that were refused are there: %q", got)
	}
}

// keeps calls a function until it answers something else than OK; it must be want.
func (b *bench) keeps(want Status, most int, do func(n int) Status) {
	b.t.Helper()
	for n := range most {
		if status := do(n); status != OK {
			if status != want || !slices.Contains(b.p.hit, LimitFields) {
				b.t.Errorf("call %d answers %d, with the limits %v hit; want %d", n, status, b.p.hit, want)
			}
			return
		}
	}
	b.t.Errorf("%d calls are not too many", most)
}

func TestTheTextsThatTheHostKeepsAreBounded(t *testing.T) {
	large := text(strings.Repeat("v", 20_000))
	t.Run("fields of many messages", func(t *testing.T) {
		b := newBench(t, Options{}, nil, nil)
		defer b.end()
		b.keeps(LimitExceeded, maxHandles, func(int) Status {
			b.must("http_resp.new", 0)
			return b.call("http_resp.header_insert", b.u32(0), text("n"), large)
		})
	})
	t.Run("closed ones too", func(t *testing.T) {
		b := newBench(t, Options{}, nil, nil)
		defer b.end()
		b.keeps(LimitExceeded, maxHandles, func(int) Status {
			b.must("http_req.new", 0)
			h := b.u32(0)
			defer b.must("http_req.close", h)
			return b.call("http_req.header_values_set", h, text("n"), large+"\x00")
		})
	})
	t.Run("secrets", func(t *testing.T) {
		b := newBench(t, Options{}, nil, nil)
		defer b.end()
		b.keeps(LimitExceeded, maxHandles, func(int) Status { return b.call("secret_store.from_bytes", large, 0) })
	})
	t.Run("surrogate keys of requests", func(t *testing.T) {
		b := newBench(t, Options{}, nil, nil)
		defer b.end()
		b.keeps(LimitExceeded, maxHandles, func(int) Status {
			b.must("http_req.new", 0)
			return b.call("http_req.cache_override_v2_set", b.u32(0), 0, 0, 0, large)
		})
	})
	t.Run("copies for the caches", func(t *testing.T) {
		b := newBench(t, everything(), nil, nil)
		defer b.end()
		b.must("http_req.new", 0)
		h := b.u32(0)
		b.must("http_req.header_values_set", h, text("n"), text(strings.Repeat("\x00", 10_000)))
		binary.LittleEndian.PutUint32(b.p.memory[16:], h)
		b.keeps(LimitExceeded, maxHandles, func(int) Status { return b.call("cache.lookup", text("key"), lookupHeaders, 16, 0) })
	})
	t.Run("the next request has its own", func(t *testing.T) {
		b := newBench(t, Options{}, nil, nil)
		defer b.end()
		b.x.texts = maxTexts
		in := &compute.Invocation{W: httptest.NewRecorder(), R: httptest.NewRequest("GET", "http://a/", nil)}
		b.x.down.request = &Request{Next: func(context.Context, time.Duration) *Following {
			return &Following{Invocation: in, Begin: func() {}, Refuse: func() {}}
		}}
		b.must("http_downstream.next_request", 0, 0, 0)
		b.must("http_downstream.next_request_wait", b.u32(0), 0, 4)
		b.must("http_req.header_insert", b.u32(0), text("n"), text("v"))
	})
}

func TestChangesOfPendingAnswersAreBoundedInBytes(t *testing.T) {
	b := newBench(t, everything(), nil, fetched(200, ""))
	defer b.end()
	var pending []uint32
	for range 8 {
		pending = append(pending, b.sendAsync("http://a/"))
	}
	large := text(strings.Repeat("v", 20_000))
	b.keeps(LimitExceeded, 8*maxPendingFields, func(n int) Status {
		return b.call("http_req.pending_req_header_append", pending[n%8], text("n"), large, 0)
	})
}

// sendAsync sends a request, and is the handle of what is pending.
func (b *bench) sendAsync(uri text) uint32 {
	b.t.Helper()
	b.must("http_req.new", 0)
	req := b.u32(0)
	b.must("http_req.uri_set", req, uri)
	b.must("http_body.new", 0)
	body := b.u32(0)
	b.must("http_req.send_async", req, body, text("a"), 0)
	return b.u32(0)
}

func TestLongNamesAreRefusedUnread(t *testing.T) {
	b := newBench(t, everything(), nil, nil)
	defer b.end()
	b.p.memory = make([]byte, 2<<20)
	for i := range b.p.memory[4096:] {
		b.p.memory[4096+i] = "a "[i%2]
	}
	most := uint32(1 << 20)
	b.must("http_req.new", 0)
	req := b.u32(0)
	b.refused(HTTPInvalid, "http_req.method_set", req, 4096, maxMethod+1)
	b.refused(LimitExceeded, "http_req.cache_override_v2_set", req, 0, 0, 0, 4096, most)
	b.refused(Invalid, "backend.is_dynamic", 4096, most, 0)
	b.refused(Invalid, "http_req.register_dynamic_backend", 4096, maxBackendText+1, text("a"), 0, 0)
	b.must("cache.transaction_lookup", text("key"), 0, 0, 0)
	tx := b.u32(0)
	for _, mask := range []uint32{writeVary, writeKeys} {
		clear(b.p.memory[64:128])
		binary.LittleEndian.PutUint64(b.p.memory[64+12:], 4096|uint64(most)<<32)
		binary.LittleEndian.PutUint64(b.p.memory[64+40:], 4096|uint64(most)<<32)
		b.refused(LimitExceeded, "cache.transaction_insert", tx, mask, 64, 0)
	}
}

func TestThousandsOfFieldsAreChangedAtOnce(t *testing.T) {
	var h, by header
	for n := range 4000 {
		h.append(fmt.Sprintf("n%d", n), "old")
		by.append(fmt.Sprintf("n%d", 2*n), "new")
		by.append(fmt.Sprintf("n%d", 2*n), "newer")
	}
	h.replace(&by)
	if len(h.fields) != 2000+2*4000 || h.values("n2")[1] != "newer" || h.values("n3")[0] != "old" || h.fields[0].value != "new" || h.fields[2].name != "n1" {
		t.Errorf("%d fields: %v …", len(h.fields), h.fields[:4])
	}
	h.set("n1", slices.Repeat([]string{"v"}, 5000)...)
	if len(h.values("n1")) != 5000 || h.fields[2].name != "n1" || h.fields[5002].name != "n2" {
		t.Errorf("values: %d, then %v", len(h.values("n1")), h.fields[5002])
	}
	before := h.size
	h.append("connection", "n2, N4 ,,x")
	h.append("upgrade", "x")
	h.removeHops()
	if _, there := h.get("n4"); there || h.size >= before || len(h.values("connection")) != 0 {
		t.Errorf("what connections name is still there; %d bytes", h.size)
	}
	size := 0
	for _, f := range h.fields {
		size += len(f.name) + len(f.value) + fieldOverhead
	}
	if h.size != size {
		t.Errorf("its size is %d, counted %d", h.size, size)
	}
}

func TestABodyIsNoPartOfItself(t *testing.T) {
	b := newBench(t, everything(), nil, func(_ string, r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: -1, Body: r.Body}, nil
	})
	b.must("http_req.new", 0)
	req := b.u32(0)
	b.must("http_req.uri_set", req, text("http://a/"))
	b.must("http_body.new", 0)
	body := b.u32(0)
	b.refused(Invalid, "http_body.append", body, body)
	b.must("http_body.write", body, text("round"), 0, 0)
	b.must("http_req.send_async_streaming", req, body, text("a"), 0)
	b.must("http_req.pending_req_wait", b.u32(0), 0, 4)
	answer := b.u32(4)
	b.refused(Invalid, "http_body.append", body, answer)
	b.must("http_req.new", 0)
	req = b.u32(0)
	b.must("http_req.uri_set", req, text("http://b/"))
	b.must("http_req.send", req, answer, text("a"), 0, 4) // the answer to a request that has the answer as its body
	b.refused(Invalid, "http_body.append", body, b.u32(4))
	b.must("http_body.close", body)
	if got := b.read(b.u32(4)); got != "round" {
		t.Errorf("the body that was refused reads %q", got)
	}
	b.end()
}

func TestWhatWasUsedUpIsABadHandle(t *testing.T) {
	b := newBench(t, everything(), nil, fetched(200, "answer"))
	defer b.end()
	p := b.sendAsync("http://a/")
	b.must("http_req.pending_req_wait", p, 0, 4)
	b.refused(BadHandle, "http_req.pending_req_wait", p, 0, 4)
	b.refused(BadHandle, "http_req.pending_req_poll", p, 0, 4, 8)
	b.refused(BadHandle, "http_resp.send_downstream_pending", p)
	twice := b.sendAsync("http://a/")
	binary.LittleEndian.PutUint64(b.p.memory[16:], uint64(twice)|uint64(twice)<<32)
	b.must("http_req.pending_req_select", 16, 2, 0, 4, 8)
	b.refused(BadHandle, "http_req.pending_req_select", 16, 2, 0, 4, 8)
	b.must("http_body.new", 0)
	body := b.u32(0)
	b.must("http_resp.new", 0)
	resp := b.u32(0)
	b.must("http_resp.send_downstream", resp, body, 1)
	b.must("http_body.close", body)
	b.refused(BadHandle, "http_body.close", body)
	b.refused(BadHandle, "http_body.abandon", body)
	b.refused(BadHandle, "http_body.write", body, text("more"), 0, 0)
	b.refused(BadHandle, "http_resp.send_downstream", resp, body, 1)
}

func TestASandboxTakesOneRequestAtATime(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	asked, refused := 0, 0
	b.x.down.request = &Request{Next: func(context.Context, time.Duration) *Following {
		asked++
		in := &compute.Invocation{W: httptest.NewRecorder(), R: httptest.NewRequest("GET", "http://a/", nil)}
		return &Following{Invocation: in, Begin: func() {}, Refuse: func() { refused++ }}
	}}
	b.must("http_downstream.next_request", 0, 0, 0)
	first := b.u32(0)
	b.refused(LimitExceeded, "http_downstream.next_request", 0, 0, 0)
	b.must("http_downstream.next_request_abandon", first)
	b.refused(BadHandle, "http_downstream.next_request_abandon", first)
	b.refused(BadHandle, "http_downstream.next_request_wait", first, 0, 4)
	b.must("http_downstream.next_request", 0, 0, 0)
	b.end()
	if asked != 2 || refused != 2 {
		t.Errorf("%d requests were taken and %d given back, want 2 and 2", asked, refused)
	}
}

func TestTheLengthOfAnAnswerWithoutABodyIsOne(t *testing.T) {
	for value, want := range map[string]string{"7": "7", "x": "", "7, 7": "", "-1": ""} {
		b := newBench(t, Options{}, httptest.NewRequest("HEAD", "http://a/", nil), nil)
		resp, body := b.answerWith(200)
		b.must("http_resp.header_insert", resp, text("content-length"), text(value))
		b.must("http_resp.send_downstream", resp, body, 0)
		b.end()
		if got := b.w.Header().Get("Content-Length"); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

// slowKV answers lookups when it may, and counts how many it does at once.
type slowKV struct {
	MemoryKV
	may  chan struct{}
	here chan struct{}
}

func (s *slowKV) Lookup(ctx context.Context, key string) (KVValue, error) {
	s.here <- struct{}{}
	select {
	case <-s.may:
	case <-ctx.Done():
		return KVValue{}, ctx.Err()
	}
	return KVValue{Body: make([]byte, maxKVBody)}, nil
}

func TestValuesOfKVStoresAreCountedWithTheBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := &slowKV{may: make(chan struct{}), here: make(chan struct{}, 100)}
		b := newBench(t, Options{KV: func(string) (KV, bool) { return kv, true }}, nil, nil)
		b.must("kv_store.open", text("k"), 0)
		store := b.u32(0)
		var lookups []uint32
		for range 20 {
			b.must("kv_store.lookup", store, text("key"), 0, 0, 0)
			lookups = append(lookups, b.u32(0))
		}
		synctest.Wait()
		if len(kv.here) != maxKVRunning {
			t.Errorf("%d lookups go on at once, want %d", len(kv.here), maxKVRunning)
		}
		close(kv.may)
		synctest.Wait()
		held := 0
		for _, h := range lookups {
			b.must("kv_store.lookup_wait_v2", h, 0, buffer, bufferSize, 8, 16, 24)
			if b.u32(0) != invalidHandle {
				held++
			}
		}
		if most := maxBuffered / maxKVBody; held != most {
			t.Errorf("the host holds %d values, want %d", held, most)
		}
		b.end()
		if b.x.held.used != 0 {
			t.Errorf("%d bytes are still counted at the end", b.x.held.used)
		}
	})
}

func TestObjectsCountForTheirKeysAndVariants(t *testing.T) {
	s := &Objects{}
	var h header
	h.append("a", strings.Repeat("v", 1000))
	o := s.put(strings.Repeat("k", 5000), h, meta{maxAge: time.Hour, length: -1, vary: []string{"a"}})
	if s.used < 6000 {
		t.Errorf("an object with a key of 5000 bytes and a variant of 1000 counts for %d", s.used)
	}
	s.mu.Lock()
	s.removeLocked(o)
	s.mu.Unlock()
	if s.used != 0 {
		t.Errorf("an empty store has %d bytes", s.used)
	}
}

func TestWhatIsWrittenAndNotStoredIsBounded(t *testing.T) {
	s := &Objects{Bytes: 1 << 20, ObjectBytes: 1000}
	var writers []*content
	failed := 0
	for range 100 { // each takes the place of the one before
		c := s.put("key", header{}, meta{maxAge: time.Hour, length: -1}).content
		if _, err := c.Write(make([]byte, 600)); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, c)
	}
	kept := 0
	for _, c := range writers {
		kept += len(c.data)
		if _, err := c.Write(make([]byte, 10)); err != nil {
			failed++
		}
	}
	if kept > 2000 || failed != 98 {
		t.Errorf("%d bytes are held by writers, and %d of them failed", kept, failed)
	}
	for _, c := range writers {
		if c.err != nil && len(c.data) > 0 {
			t.Errorf("%d bytes of what failed are held by its writer", len(c.data))
		}
	}
	for _, c := range writers {
		c.abandon()
	}
	if s.loose != 0 || s.used != 0 {
		t.Errorf("after all writers ended %d bytes are loose, %d used", s.loose, s.used)
	}
}
