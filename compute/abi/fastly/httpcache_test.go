package fastly

import (
	"encoding/binary"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// httpBench is a request whose guest caches answers.
func httpBench(t *testing.T) *bench {
	return newBench(t, Options{Objects: &Objects{}, HTTPCache: true}, nil, nil)
}

// askCache looks a request up; fields are names and values.
func (b *bench) askCache(method string, fields ...string) uint32 {
	b.t.Helper()
	req, _ := b.ask(method, "http://api.example/page")
	for i := 0; i < len(fields); i += 2 {
		b.must("http_req.header_append", req, text(fields[i]), text(fields[i+1]))
	}
	b.must("http_cache.transaction_lookup", req, 0, 0, 0)
	return b.u32(0)
}

// httpState is the state of a handle of the HTTP cache.
func (b *bench) httpState(h uint32) uint32 {
	b.t.Helper()
	b.must("http_cache.get_state", h, 0)
	return b.u32(0)
}

// fromOrigin is an answer of an origin.
func (b *bench) fromOrigin(status int, fields ...string) uint32 {
	b.t.Helper()
	b.must("http_resp.new", 0)
	resp := b.u32(0)
	b.must("http_resp.status_set", resp, status)
	for i := 0; i < len(fields); i += 2 {
		b.must("http_resp.header_append", resp, text(fields[i]), text(fields[i+1]))
	}
	return resp
}

// keep stores an answer as libraries do: prepare, options, insertion. It returns the action.
func (b *bench) keep(h, resp uint32, body string) uint32 {
	b.t.Helper()
	b.must("http_cache.prepare_response_for_storage", h, resp, 0, 4)
	action, prepared := b.u32(0), b.u32(4)
	clear(b.p.memory[512:640])
	b.put32(512+8, 700)
	b.put32(512+12, 100)
	b.put32(512+32, 800)
	b.put32(512+36, 100)
	const all = httpWriteEnd - 2
	b.must("http_cache.get_suggested_cache_options", h, prepared, all, 512, 0, 576)
	mask := b.u32(0)
	switch action {
	case actionInsert:
		b.must("http_cache.transaction_insert", h, prepared, mask, 576, 0)
		stored := b.u32(0)
		b.must("http_body.write", stored, text(body), 0, 0)
		b.must("http_body.close", stored)
		b.must("http_resp.status_get", prepared, 0) // libraries go on to read it
	case actionUpdate:
		b.must("http_cache.transaction_update_and_return_fresh", h, prepared, mask, 576, 0)
	case actionUncacheable:
		b.must("http_cache.transaction_record_not_cacheable", h, 0, 576)
	default:
		b.must("http_cache.transaction_abandon", h)
	}
	return action
}

// page is the found answer for the client: status, body, and one field.
func (b *bench) page(h uint32, field string) (status int, body, value string) {
	b.t.Helper()
	b.must("http_cache.get_found_response", h, 1, 0, 4)
	resp, handle := b.u32(0), b.u32(4)
	b.must("http_resp.status_get", resp, 0)
	status = int(binary.LittleEndian.Uint16(b.p.memory[0:]))
	body = b.read(handle)
	if b.call("http_resp.header_value_get", resp, text(field), buffer, bufferSize, 0) == OK {
		value = b.got()
	}
	b.must("http_body.close", handle)
	return status, body, value
}

func TestAnAnswerIsCachedAndRevalidated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := httpBench(t)
		defer b.end()
		h := b.askCache("GET")
		if s := b.httpState(h); s != stateMustInsert {
			t.Fatalf("nothing is there: state %b", s)
		}
		b.refused(None, "http_cache.get_found_response", h, 1, 0, 4)
		if action := b.keep(h, b.fromOrigin(200, "cache-control", "max-age=60, stale-while-revalidate=30", "etag", `"v1"`, "surrogate-key", "a b",
			"connection", "x-hop", "x-hop", "1"), "page"); action != actionInsert {
			t.Fatalf("action %d", action)
		}
		time.Sleep(20 * time.Second)
		h = b.askCache("GET")
		status, body, age := b.page(h, "age")
		if status != 200 || body != "page" || age != "20" {
			t.Errorf("found: %d %q, age %q", status, body, age)
		}
		if _, _, hop := b.page(h, "x-hop"); hop != "" {
			t.Error("a field of the connection was stored")
		}
		b.must("http_cache.get_surrogate_keys", h, buffer, bufferSize, 0)
		if got := b.got(); got != urlKey("http://api.example/page")+" a b" {
			t.Errorf("keys: %q", got)
		}
		time.Sleep(50 * time.Second)
		h = b.askCache("GET", "range", "bytes=0-0")
		if s := b.httpState(h); s != stateFound|stateUsable|stateStale|stateMustInsert {
			t.Errorf("stale: state %b", s)
		}
		b.must("http_cache.get_suggested_backend_request", h, 0)
		req := b.u32(0)
		b.must("http_req.header_value_get", req, text("if-none-match"), buffer, bufferSize, 0)
		if got := b.got(); got != `"v1"` {
			t.Errorf("revalidation asks with %q", got)
		}
		b.refused(Invalid, "http_req.header_value_get", req, text("range"), buffer, bufferSize, 0)
		if action := b.keep(h, b.fromOrigin(304, "cache-control", "max-age=100", "x-new", "yes"), ""); action != actionUpdate {
			t.Errorf("a 304: action %d", action)
		}
		h = b.askCache("GET")
		if status, body, added := b.page(h, "x-new"); status != 200 || body != "page" || added != "yes" || b.httpState(h) != stateFound|stateUsable {
			t.Errorf("after the 304: %d %q, x-new %q", status, body, added)
		}
	})
}

func TestAnAnswerFitsItsRequest(t *testing.T) {
	b := httpBench(t)
	defer b.end()
	b.keep(b.askCache("GET"), b.fromOrigin(200, "cache-control", "max-age=60", "etag", `"v1"`, "last-modified", "Wed, 21 Oct 2015 07:28:00 GMT"), "0123456789")
	for _, c := range []struct {
		method string
		fields []string
		status int
		body   string
		ranged string
	}{
		{"HEAD", nil, 200, "", ""},
		{"GET", []string{"if-none-match", `"v0", W/"v1"`}, 304, "", ""},
		{"GET", []string{"if-none-match", `"v0"`, "if-modified-since", "Wed, 21 Oct 2015 07:28:00 GMT"}, 200, "0123456789", ""},
		{"GET", []string{"if-modified-since", "Wed, 21 Oct 2015 07:28:00 GMT"}, 304, "", ""},
		{"GET", []string{"range", "bytes=2-4"}, 206, "234", "bytes 2-4/10"},
		{"GET", []string{"range", "bytes=-3"}, 206, "789", "bytes 7-9/10"},
		{"GET", []string{"range", "bytes=8-"}, 206, "89", "bytes 8-9/10"},
		{"GET", []string{"range", "bytes=4-99"}, 206, "456789", "bytes 4-9/10"},
		{"GET", []string{"range", "bytes=10-"}, 416, "", "bytes */10"},
		{"GET", []string{"range", "bytes=0-1,3-4"}, 200, "0123456789", ""},
		{"GET", []string{"range", "bytes=4-2"}, 200, "0123456789", ""},
		{"GET", []string{"range", "bytes=2-4", "if-range", `"v0"`}, 200, "0123456789", ""},
		{"GET", []string{"range", "bytes=2-4", "if-range", `"v1"`}, 206, "234", "bytes 2-4/10"},
	} {
		status, body, ranged := b.page(b.askCache(c.method, c.fields...), "content-range")
		if status != c.status || body != c.body || ranged != c.ranged {
			t.Errorf("%s %q: got %d %q %q, want %d %q %q", c.method, c.fields, status, body, ranged, c.status, c.body, c.ranged)
		}
	}
}

func TestWhatIsStored(t *testing.T) {
	for i, c := range []struct {
		status int
		fields []string
		action uint32
	}{
		{200, []string{"cache-control", "max-age=60"}, actionInsert},
		{404, []string{"surrogate-control", "max-age=60"}, actionInsert},
		{200, []string{"expires", "Wed, 21 Oct 2099 07:28:00 GMT"}, actionInsert},
		{200, nil, actionInsert}, // a program may give it a lifetime
		{500, nil, actionDoNotStore},
		{206, []string{"cache-control", "max-age=60"}, actionDoNotStore},
		{200, []string{"cache-control", "max-age=60", "vary", "*"}, actionDoNotStore},
		{200, []string{"cache-control", "private, max-age=60"}, actionUncacheable},
		{200, []string{"cache-control", "no-store"}, actionUncacheable},
		{200, []string{"cache-control", "max-age=60", "set-cookie", "a=b"}, actionUncacheable},
	} {
		b := httpBench(t)
		h := b.askCache("GET")
		if action := b.keep(h, b.fromOrigin(c.status, c.fields...), "body"); action != c.action {
			t.Errorf("%d: %d %q: action %d, want %d", i, c.status, c.fields, action, c.action)
		}
		want := map[uint32]uint32{actionInsert: stateFound | stateUsable, actionDoNotStore: stateMustInsert}[c.action]
		if c.action == actionInsert && c.fields == nil {
			want = stateMustInsert // without one it is used for nobody
		}
		if c.action != actionUncacheable {
			if s := b.httpState(b.askCache("GET")); s != want {
				t.Errorf("%d: then the state is %b, want %b", i, s, want)
			}
		}
		b.end()
	}
	b := httpBench(t)
	defer b.end()
	if action := b.keep(b.askCache("GET", "authorization", "x"), b.fromOrigin(200, "cache-control", "max-age=60"), ""); action != actionUncacheable {
		t.Errorf("with authorization: action %d", action)
	}
}

func TestAnswersThatAreNotCacheableAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := httpBench(t)
		defer b.end()
		h := b.askCache("GET")
		clear(b.p.memory[512:600])
		b.put64(512, 10*second)
		b.must("http_cache.transaction_record_not_cacheable", h, 0, 512)
		if s := b.httpState(b.askCache("GET")); s != 0 {
			t.Errorf("state %b, want neither an answer nor an obligation", s)
		}
		time.Sleep(10 * time.Second)
		if s := b.httpState(b.askCache("GET")); s != stateMustInsert {
			t.Errorf("after its time: state %b", s)
		}
	})
}

func TestAStaleAnswerStandsInForAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := httpBench(t)
		defer b.end()
		b.keep(b.askCache("GET"), b.fromOrigin(200, "cache-control", "max-age=10, stale-if-error=60"), "old")
		time.Sleep(30 * time.Second)
		h := b.askCache("GET")
		if s := b.httpState(h); s != stateMustInsert|stateUsableIfError {
			t.Errorf("state %b", s)
		}
		b.refused(None, "http_cache.get_found_response", h, 1, 0, 4)
		b.must("http_cache.transaction_choose_stale", h)
		if status, body, _ := b.page(h, ""); status != 200 || body != "old" {
			t.Errorf("got %d %q", status, body)
		}
		time.Sleep(60 * time.Second)
		h = b.askCache("GET")
		if s := b.httpState(h); s != stateMustInsert {
			t.Errorf("too old for that too: state %b", s)
		}
		b.refused(BadHandle, "http_cache.transaction_choose_stale", h)
	})
}

func TestALifetimeThatNobodySaysIsGuessed(t *testing.T) {
	const date, monthBefore, dayBefore = "Wed, 21 Oct 2015 07:28:00 GMT", "Mon, 21 Sep 2015 07:28:00 GMT", "Wed, 21 Oct 2015 04:28:00 GMT"
	b := httpBench(t)
	defer b.end()
	h := b.askCache("GET")
	for _, c := range []struct {
		status int
		fields []string
		want   uint64
	}{
		{200, nil, 0},
		{200, []string{"date", date, "last-modified", dayBefore}, 18 * 60 * second}, // a tenth of three hours
		{200, []string{"date", date, "last-modified", monthBefore}, 3600 * second},  // an hour at most
		{404, []string{"date", date, "last-modified", dayBefore}, 18 * 60 * second},
		{500, []string{"date", date, "last-modified", dayBefore}, 0},
		{200, []string{"date", dayBefore, "last-modified", date}, 0},
		{200, []string{"date", date, "last-modified", dayBefore, "cache-control", "no-cache"}, 0},
		{200, []string{"date", date, "last-modified", dayBefore, "cache-control", "max-age=5"}, 5 * second},
		{200, []string{"date", date, "last-modified", dayBefore, "expires", "0"}, 0},
	} {
		clear(b.p.memory[512:640])
		b.must("http_cache.get_suggested_cache_options", h, b.fromOrigin(c.status, c.fields...), 0, 512, 0, 576)
		if got := b.u64(576); got != c.want {
			t.Errorf("%d %v: %d seconds, want %d", c.status, c.fields, got/second, c.want/second)
		}
	}
}

func TestSuggestedOptionsNeedRoom(t *testing.T) {
	b := httpBench(t)
	defer b.end()
	h := b.askCache("GET")
	resp := b.fromOrigin(200, "cache-control", "max-age=60", "vary", "Accept, Cookie", "age", "5", "content-length", strconv.Itoa(99))
	clear(b.p.memory[512:640])
	b.put32(520, 700)
	b.put32(524, 3)
	b.refused(BufferLength, "http_cache.get_suggested_cache_options", h, resp, httpVary|httpLength|httpInitialAge|httpSensitive, 512, 0, 576)
	if mask := b.u32(0); mask != httpVary|httpLength|httpInitialAge || b.u32(576+12) != uint32(len("accept cookie")) {
		t.Errorf("mask %b, length %d", mask, b.u32(576+12))
	}
	b.put32(524, 100)
	b.must("http_cache.get_suggested_cache_options", h, resp, httpVary|httpLength|httpInitialAge|httpSensitive, 512, 0, 576)
	if b.u64(576) != 60*second || b.u64(576+16) != 5*second || b.u64(576+40) != 99 || string(b.p.memory[700:713]) != "accept cookie" {
		t.Errorf("got max age %d, age %d, length %d", b.u64(576), b.u64(576+16), b.u64(576+40))
	}
}
