package fastly

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestConfigStoresAndDictionaries(t *testing.T) {
	o := Options{Configs: func(name string) (Values, bool) { return Map{"k": "value", "empty": ""}, name == "conf" }}
	b := newBench(t, o, nil, nil)
	defer b.end()
	for _, module := range []string{"config_store", "dictionary"} {
		b.refused(BadHandle, module+".open", text("other"), 0)
		b.refused(None, module+".open", text(""), 0)
		b.refused(Unsupported, module+".open", text(strings.Repeat("n", 257)), 0)
		b.must(module+".open", text("conf"), 0)
		h := b.u32(0)
		b.must(module+".get", h, text("k"), buffer, bufferSize, 0)
		if b.got() != "value" {
			t.Errorf("got %q", b.got())
		}
		b.refused(BufferLength, module+".get", h, text("k"), buffer, 2, 0)
		if b.u32(0) != 5 {
			t.Errorf("the room that is needed: %d", b.u32(0))
		}
		b.must(module+".get", h, text("empty"), buffer, bufferSize, 0)
		b.refused(None, module+".get", h, text("absent"), buffer, bufferSize, 0)
		b.refused(Invalid, module+".get", h, text(strings.Repeat("k", 257)), buffer, bufferSize, 0)
		b.refused(None, module+".get", h, text(strings.Repeat("ゝ", 256)), buffer, bufferSize, 0)
	}
}

func TestSecrets(t *testing.T) {
	o := Options{Secrets: func(name string) (Values, bool) { return Map{"key": "s3cret"}, name == "granted" }}
	b := newBench(t, o, nil, nil)
	defer b.end()
	b.refused(None, "secret_store.open", text("others"), 0)
	b.must("secret_store.open", text("granted"), 0)
	h := b.u32(0)
	b.refused(None, "secret_store.get", h, text("none"), 0)
	b.must("secret_store.get", h, text("key"), 0)
	b.must("secret_store.plaintext", b.u32(0), buffer, bufferSize, 0)
	if b.got() != "s3cret" {
		t.Errorf("got %q", b.got())
	}
	b.must("secret_store.from_bytes", text("mine"), 0)
	b.must("secret_store.plaintext", b.u32(0), buffer, bufferSize, 0)
	if b.got() != "mine" {
		t.Errorf("got %q", b.got())
	}
	b.refused(BadHandle, "secret_store.plaintext", h, buffer, bufferSize, 0)
}

// insert writes to a KV store, and returns how that went.
func (b *bench) insert(store uint32, key, value string, mask int, config func()) KVError {
	b.t.Helper()
	_, body := b.answerWith(200, value)
	clear(b.p.memory[512:640])
	if config != nil {
		config()
	}
	b.must("kv_store.insert", store, text(key), body, mask, 512, 0)
	b.must("kv_store.insert_wait", b.u32(0), 0)
	return KVError(b.u32(0))
}

// lookup reads from a KV store.
func (b *bench) lookup(store uint32, key string) (value, metadata string, generation uint64, e KVError) {
	b.t.Helper()
	b.must("kv_store.lookup", store, text(key), 0, 512, 0)
	b.must("kv_store.lookup_wait_v2", b.u32(0), 4, buffer, bufferSize, 0, 16, 8)
	metadata, generation, e = string(b.p.memory[buffer:buffer+b.u32(0)]), b.u64(16), KVError(b.u32(8))
	if e == KVOK {
		value = b.read(b.u32(4))
	}
	return value, metadata, generation, e
}

func TestKVStores(t *testing.T) {
	store := &MemoryKV{}
	b := newBench(t, Options{KV: func(name string) (KV, bool) { return store, name == "kv" }}, nil, nil)
	defer b.end()
	b.refused(Invalid, "kv_store.open", text("other"), 0)
	b.must("kv_store.open", text("kv"), 0)
	h := b.u32(0)
	if _, _, _, e := b.lookup(h, "a"); e != KVNotFound {
		t.Errorf("an absent key: %v", e)
	}
	if e := b.insert(h, "a", "one", kvHasMetadata, func() {
		copy(b.p.memory[600:], "meta")
		b.put32(520, 600)
		b.put32(524, 4)
	}); e != KVOK {
		t.Fatalf("insert: %v", e)
	}
	value, metadata, generation, e := b.lookup(h, "a")
	if value != "one" || metadata != "meta" || e != KVOK || generation == 0 {
		t.Errorf("got %q, %q, %d, %v", value, metadata, generation, e)
	}
	mode := func(m KVMode) func() { return func() { b.put32(512, uint32(m)) } }
	if e := b.insert(h, "a", "x", 0, mode(KVAdd)); e != KVPreconditionFailed {
		t.Errorf("add to what is there: %v", e)
	}
	b.insert(h, "a", ">", 0, mode(KVAppend))
	b.insert(h, "a", "<", 0, mode(KVPrepend))
	if value, _, _, _ = b.lookup(h, "a"); value != "<one>" {
		t.Errorf("after append and prepend: %q", value)
	}
	if e := b.insert(h, "a", "x", kvHasGeneration, func() { b.put64(536, generation) }); e != KVPreconditionFailed {
		t.Errorf("an older generation: %v", e)
	}
	b.refused(Invalid, "kv_store.lookup", h, text(""), 0, 512, 0)
	b.refused(Invalid, "kv_store.lookup", h, text("a\nb"), 0, 512, 0)
	b.refused(Invalid, "kv_store.lookup", h, text(".."), 0, 512, 0)
	b.must("kv_store.delete", h, text("a"), 0, 512, 0)
	task := b.u32(0)
	b.refused(BadHandle, "kv_store.insert_wait", task, 0)
	b.must("kv_store.delete_wait", task, 0)
	if KVError(b.u32(0)) != KVOK {
		t.Errorf("delete: %v", KVError(b.u32(0)))
	}
}

func TestKVStoresAreListedInPages(t *testing.T) {
	b := newBench(t, Options{KV: func(string) (KV, bool) { return &MemoryKV{}, true }}, nil, nil)
	defer b.end()
	b.must("kv_store.open", text("kv"), 0)
	h := b.u32(0)
	for _, key := range []string{"b1", "a", "b3", "b2"} {
		b.insert(h, key, "v", 0, nil)
	}
	var page struct {
		Data []string
		Meta struct {
			Limit      int
			NextCursor string `json:"next_cursor"`
		}
	}
	copy(b.p.memory[600:], "b")
	clear(b.p.memory[512:540])
	b.put32(524, 2)
	b.put32(528, 600)
	b.put32(532, 1)
	list := func(mask int) {
		b.must("kv_store.list", h, mask, 512, 0)
		b.must("kv_store.list_wait", b.u32(0), 0, 4)
		page.Meta.NextCursor = ""
		if err := json.Unmarshal([]byte(b.read(b.u32(0))), &page); err != nil {
			t.Fatal(err)
		}
	}
	list(kvHasLimit | kvHasPrefix)
	if strings.Join(page.Data, " ") != "b1 b2" || page.Meta.NextCursor == "" || page.Meta.Limit != 2 {
		t.Errorf("first page: %+v", page)
	}
	copy(b.p.memory[700:], page.Meta.NextCursor)
	b.put32(516, 700)
	b.put32(520, uint32(len(page.Meta.NextCursor)))
	list(kvHasLimit | kvHasPrefix | kvHasCursor)
	if strings.Join(page.Data, " ") != "b3" || page.Meta.NextCursor != "" {
		t.Errorf("second page: %+v", page)
	}
	b.put32(524, 1001)
	b.refused(Invalid, "kv_store.list", h, kvHasLimit, 512, 0)
}

func TestKVValuesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &MemoryKV{Bytes: 100}
		ctx := t.Context()
		if err := store.Insert(ctx, "k", KVInsert{Body: []byte("v"), TTL: time.Minute}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute - 1)
		if _, err := store.Lookup(ctx, "k"); err != nil {
			t.Errorf("before its end: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := store.Lookup(ctx, "k"); err != KVNotFound {
			t.Errorf("at its end: %v", err)
		}
		if err := store.Insert(ctx, "k", KVInsert{Body: make([]byte, 100)}); err != KVTooLarge {
			t.Errorf("more than there is room for: %v", err)
		}
		for range 50 {
			if err := store.Insert(ctx, "k", KVInsert{Body: make([]byte, 99)}); err != nil {
				t.Fatalf("the same key again: %v", err)
			}
		}
	})
}

func TestObjectStores(t *testing.T) {
	store := &MemoryKV{}
	b := newBench(t, Options{KV: func(string) (KV, bool) { return store, true }}, nil, nil)
	defer b.end()
	b.must("object_store.open", text("kv"), 0)
	h := b.u32(0)
	b.must("object_store.lookup", h, text("k"), 0)
	if b.u32(0) != invalidHandle {
		t.Errorf("an absent key has the handle %d", b.u32(0))
	}
	_, body := b.answerWith(200, "value")
	b.must("object_store.insert", h, text("k"), body)
	b.must("object_store.lookup_async", h, text("k"), 0)
	b.must("object_store.pending_lookup_wait", b.u32(0), 0)
	if got := b.read(b.u32(0)); got != "value" {
		t.Errorf("got %q", got)
	}
	b.must("object_store.delete_async", h, text("k"), 0)
	b.must("object_store.pending_delete_wait", b.u32(0))
	b.must("object_store.delete_async", h, text("k"), 0)
	b.refused(None, "object_store.pending_delete_wait", b.u32(0))
}

func TestAccessControlLists(t *testing.T) {
	list := Prefixes{
		{netip.MustParsePrefix("192.0.2.0/24"), "BLOCK"}, {netip.MustParsePrefix("192.0.2.128/25"), "ALLOW"}, {netip.MustParsePrefix("2001:db8::/32"), "BLOCK"},
	}
	b := newBench(t, Options{ACLs: func(name string) (ACL, bool) { return list, name == "acl" }}, nil, nil)
	defer b.end()
	b.refused(None, "acl.open", text("other"), 0)
	b.must("acl.open", text("acl"), 0)
	h := b.u32(0)
	b.must("acl.lookup", h, text("\xc0\x00\x02\xff"), 0, 4)
	if got := b.read(b.u32(0)); got != `{"prefix":"192.0.2.128/25","action":"ALLOW"}` || b.u32(4) != aclFound {
		t.Errorf("got %s, %d", got, b.u32(4))
	}
	b.must("acl.lookup", h, text(netip.MustParseAddr("2001:db8::1").AsSlice()), 0, 4)
	if got := b.read(b.u32(0)); got != `{"prefix":"2001:0db8:0000:0000:0000:0000:0000:0000/32","action":"BLOCK"}` {
		t.Errorf("got %s", got)
	}
	b.must("acl.lookup", h, text("\x01\x02\x03\x04"), 0, 4)
	if b.u32(0) != invalidHandle || b.u32(4) != aclNothing {
		t.Errorf("an address that is not in it: handle %d, %d", b.u32(0), b.u32(4))
	}
	b.refused(Invalid, "acl.lookup", h, text("\x01\x02"), 0, 4)
}

func TestWhatIsAround(t *testing.T) {
	var lines, purged []string
	o := Options{
		Geo: func(a netip.Addr) (Place, bool) {
			return Place{City: "Bern", CountryCode: "CH"}, a == netip.MustParseAddr("192.0.2.1")
		},
		Log: func(_ context.Context, endpoint string, line []byte) {
			lines = append(lines, endpoint+": "+string(line))
		},
		Purge: func(_ context.Context, key string, soft bool) (string, error) {
			purged = append(purged, key)
			return "feed-7", nil
		},
		Objects: &Objects{},
		Device:  func(agent string) ([]byte, bool) { return []byte(`{"device":{}}`), agent == "known" },
	}
	b := newBench(t, o, nil, nil)
	defer b.end()
	b.must("abi.init", uint64(1))
	b.refused(Unsupported, "abi.init", uint64(2))
	b.must("geo.lookup", text("\xc0\x00\x02\x01"), buffer, bufferSize, 0)
	if got := b.got(); !strings.Contains(got, `"city":"Bern"`) {
		t.Errorf("place: %s", got)
	}
	b.refused(None, "geo.lookup", text("\xc0\x00\x02\x02"), buffer, bufferSize, 0)
	b.refused(Invalid, "log.endpoint_get", text("StdOut"), 0)
	b.must("log.endpoint_get", text("access"), 0)
	b.must("log.write", b.u32(0), text("a line"), 4)
	if strings.Join(lines, "|") != "access: a line" || b.u32(4) != 6 {
		t.Errorf("log: %q", lines)
	}
	b.must("purge.purge_surrogate_key", text("k1"), 0, 0)
	b.refused(Invalid, "purge.purge_surrogate_key", text("k1 k2"), 0, 0)
	b.put32(512, buffer)
	b.put32(516, bufferSize)
	b.put32(520, 0)
	b.must("purge.purge_surrogate_key", text("k2"), 2, 512)
	if got := b.got(); got != `{"status":"ok","id":"feed-7"}` || strings.Join(purged, " ") != "k1 k2" {
		t.Errorf("purge: %q, %q", got, purged)
	}
	b.must("compute_runtime.get_vcpu_ms", 8)
	b.must("compute_runtime.get_heap_mib", 0)
	if b.u64(8) != 1500 || b.u32(0) != 1 {
		t.Errorf("%d ms, %d MiB", b.u64(8), b.u32(0))
	}
	const phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1.2 Mobile/15E148 Safari/604.1"
	b.must("device_detection.lookup", text(phone), buffer, bufferSize, 0)
	if got := b.got(); !strings.Contains(got, `"is_mobile":true`) {
		t.Errorf("device: %s", got)
	}
	b.refused(None, "device_detection.lookup", text("?"), buffer, bufferSize, 0)
	b.must("device_detection.lookup", text("known"), buffer, bufferSize, 0)
	if got := b.got(); got != `{"device":{}}` {
		t.Errorf("a device of the user's table: %s", got)
	}
	b.must("uap.parse", text(phone), buffer, 64, 0, buffer+64, 64, 4, buffer+128, 64, 8, buffer+192, 64, 12)
	if got := b.got() + string(b.p.memory[buffer+64:buffer+64+b.u32(4)]); got != "Safari17" {
		t.Errorf("agent: %q", got)
	}
	b.refused(Unsupported, "image_optimizer.transform_image_optimizer_request", 0, 0, text(""), 0, 0, 0, 0, 0)
	b.refused(Invalid, "shielding.shield_info", text("iad"), buffer, bufferSize, 0)
}

func TestRatesAreCountedByTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Rates: &Rates{}}, nil, nil)
		defer b.end()
		for range 20 {
			b.must("erl.ratecounter_increment", text("rc"), text("client"), 2)
			time.Sleep(time.Second / 2)
		}
		look := func(name string, seconds int) uint32 {
			b.must("erl."+name, text("rc"), text("client"), seconds, 0)
			return b.u32(0)
		}
		if got := look("ratecounter_lookup_count", 10); got < 36 || got > 40 {
			t.Errorf("in 10 s: got %d, want about 40", got)
		}
		if got := look("ratecounter_lookup_rate", 10); got != 3 && got != 4 {
			t.Errorf("a second: got %d", got)
		}
		time.Sleep(time.Minute)
		if got := look("ratecounter_lookup_count", 60); got != 0 {
			t.Errorf("after a minute: got %d", got)
		}
		b.refused(Invalid, "erl.ratecounter_lookup_rate", text("rc"), text("client"), 7, 0)
		b.refused(Invalid, "erl.penaltybox_add", text("pb"), text("client"), 30)
		check := func() uint32 {
			b.must("erl.check_rate", text("rc"), text("client"), 5, 1, 10, text("pb"), 60, 0)
			return b.u32(0)
		}
		for i, want := range []uint32{0, 0, 1} {
			if got := check(); got != want {
				t.Errorf("5 of 10 a second, time %d: got %d, want %d", i+1, got, want)
			}
		}
		time.Sleep(30 * time.Second)
		b.must("erl.penaltybox_has", text("pb"), text("client"), 0)
		if b.u32(0) != 1 {
			t.Error("the penalty ended early")
		}
		time.Sleep(31 * time.Second)
		b.must("erl.penaltybox_has", text("pb"), text("client"), 0)
		if b.u32(0) != 0 {
			t.Error("the penalty does not end")
		}
	})
}

func TestRatesAreBounded(t *testing.T) {
	r := &Rates{Most: 10}
	now := time.Now()
	for i := range 100 {
		r.add(rateKey{"rc", string(rune('a' + i))}, 1, now)
		r.box(rateKey{"pb", string(rune('a' + i))}, time.Minute, now)
	}
	if n := len(r.counters) + len(r.boxes); n > 11 {
		t.Errorf("%d entries, 10 are allowed", n)
	}
}
