package fastly

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/compute"
)

func TestFieldsKeepTheirOrderAndLoseTheirCase(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	defer b.end()
	b.must("http_req.new", 0)
	h := b.u32(0)
	for _, f := range []string{"B-Two", "a-One", "B-two"} {
		b.must("http_req.header_append", h, text(f), text("v-"+f))
	}
	b.must("http_req.header_names_get", h, buffer, bufferSize, 0, 8, 0)
	if got := b.got(); got != "b-two\x00a-one\x00" || int64(b.u64(8)) != -1 {
		t.Errorf("names: got %q, cursor %d", got, int64(b.u64(8)))
	}
	b.must("http_req.header_values_get", h, text("B-TWO"), buffer, bufferSize, 0, 8, 0)
	if got := b.got(); got != "v-B-Two\x00v-B-two\x00" {
		t.Errorf("values: got %q", got)
	}
	b.must("http_req.header_insert", h, text("b-two"), text("new"))
	b.must("http_req.header_names_get", h, buffer, bufferSize, 0, 8, 0)
	if got := b.got(); got != "b-two\x00a-one\x00" {
		t.Errorf("an insertion took the field's place: got %q", got)
	}
	b.must("http_req.header_values_set", h, text("a-one"), text("x\x00y\x00no value"))
	b.must("http_req.header_values_get", h, text("a-one"), buffer, bufferSize, 0, 8, 0)
	if got := b.got(); got != "x\x00y\x00" {
		t.Errorf("values set: got %q", got)
	}
	b.must("http_req.header_remove", h, text("A-One"))
	b.refused(Invalid, "http_req.header_remove", h, text("A-One"))
	b.refused(Invalid, "http_req.header_value_get", h, text("a-one"), buffer, bufferSize, 0)
}

func TestAListGoesOnAtItsCursor(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	defer b.end()
	b.must("http_resp.new", 0)
	h := b.u32(0)
	for _, v := range []string{"first", "second", "third"} {
		b.must("http_resp.header_append", h, text("x"), text(v))
	}
	b.must("http_resp.header_values_get", h, text("x"), buffer, 14, 0, 8, 0)
	if got := b.got(); got != "first\x00second\x00"[:13] || b.u64(8) != 2 {
		t.Errorf("first part: got %q, cursor %d", got, b.u64(8))
	}
	b.must("http_resp.header_values_get", h, text("x"), buffer, 14, 2, 8, 0)
	if got := b.got(); got != "third\x00" || int64(b.u64(8)) != -1 {
		t.Errorf("second part: got %q, cursor %d", got, int64(b.u64(8)))
	}
	b.refused(BufferLength, "http_resp.header_values_get", h, text("x"), buffer, 6, 1, 8, 0)
	if b.u32(0) != 7 {
		t.Errorf("the room that is needed: got %d, want 7", b.u32(0))
	}
	b.must("http_resp.header_values_get", h, text("y"), buffer, 0, 0, 8, 0)
	if b.u32(0) != 0 || int64(b.u64(8)) != -1 {
		t.Errorf("no values: %d bytes, cursor %d", b.u32(0), int64(b.u64(8)))
	}
}

func TestWrongFieldsAreRefused(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	defer b.end()
	b.must("http_req.new", 0)
	h := b.u32(0)
	b.refused(HTTPInvalid, "http_req.header_insert", h, text("a b"), text("v"))
	b.refused(HTTPInvalid, "http_req.header_insert", h, text(""), text("v"))
	b.refused(HTTPInvalid, "http_req.header_insert", h, text("a"), text("v\r\nb: c"))
	b.refused(HTTPInvalid, "http_req.header_values_set", h, text("a"), text("v\x00\x7f\x00"))
	b.must("http_req.header_insert", h, text("a"), text("\xff\tv"))
	b.refused(BadHandle, "http_req.header_insert", 77, text("a"), text("v"))
	b.refused(BadHandle, "http_resp.header_insert", h, text("a"), text("v"))
	b.refused(Invalid, "http_req.header_insert", h, 0, 1<<16, text("v"))
	b.refused(HTTPInvalid, "http_req.method_set", h, text("GE T"))
	b.refused(HTTPInvalid, "http_req.uri_set", h, text("http://a b/"))
	b.refused(HTTPInvalid, "http_req.uri_set", h, text("http://"))
	b.refused(Invalid, "http_req.method_set", h, text("\xff"))
	b.refused(Invalid, "http_req.version_set", h, 9)
	b.refused(Invalid, "http_req.cache_override_set", h, 16, 0, 0)
}

func TestOneMessageHasBoundedFields(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	defer b.end()
	b.must("http_resp.new", 0)
	h := b.u32(0)
	var got Status
	for range 1000 {
		if got = b.call("http_resp.header_append", h, text("x"), text(strings.Repeat("v", 1000))); got != OK {
			break
		}
	}
	if got != HTTPHeadTooLarge {
		t.Errorf("endless fields: got %v, want %v", got, HTTPHeadTooLarge)
	}
}

func TestHandlesAreBounded(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	defer b.end()
	var got Status
	for range maxHandles + 1 {
		got = b.call("http_req.new", 0)
	}
	if got != LimitExceeded {
		t.Errorf("endless handles: got %v", got)
	}
	if len(b.p.hit) != 1 || b.p.hit[0] != LimitHandles {
		t.Errorf("limits that were hit: %v", b.p.hit)
	}
	b.must("http_req.close", 5)
	b.refused(BadHandle, "http_req.close", 5)
	b.must("http_req.new", 0)
	if b.u32(0) == 5 {
		t.Error("a handle that was given back was given out again")
	}
}

func TestTheClientsRequestIsThere(t *testing.T) {
	r := httptest.NewRequest("POST", "/a?b=c", strings.NewReader("hello"))
	r.Host = "shop.example"
	r.Header.Set("X-Two", "2")
	b := newBench(t, Options{}, r, nil)
	defer b.end()
	b.x.down.Client = compute.Client{
		Address: netip.MustParseAddrPort("192.0.2.7:999"), Server: netip.MustParseAddrPort("[2001:db8::1]:443"), RequestID: [16]byte{1},
	}
	b.refused(Failed, "http_req.downstream_client_ip_addr", buffer, 0)
	b.must("http_req.body_downstream_get", 0, 4)
	h, body := b.u32(0), b.u32(4)
	b.must("http_req.uri_get", h, buffer, bufferSize, 0)
	if got := b.got(); got != "http://shop.example/a?b=c" {
		t.Errorf("URI: got %q", got)
	}
	b.refused(BufferLength, "http_req.method_get", h, buffer, 3, 0)
	if b.u32(0) != 4 {
		t.Errorf("the room that is needed: %d", b.u32(0))
	}
	b.must("http_req.header_value_get", h, text("host"), buffer, bufferSize, 0)
	if got := b.got(); got != "shop.example" {
		t.Errorf("host: got %q", got)
	}
	b.must("http_body.known_length", body, 8)
	if b.u64(8) != 5 {
		t.Errorf("length: got %d", b.u64(8))
	}
	b.refused(Again, "http_body.trailer_names_get", body, buffer, bufferSize, 0, 8, 0)
	if got := b.read(body); got != "hello" {
		t.Errorf("body: got %q", got)
	}
	b.must("http_body.trailer_names_get", body, buffer, bufferSize, 0, 8, 0)
	b.must("http_downstream.downstream_client_ip_addr", h, buffer, 0)
	if got := b.got(); got != "\xc0\x00\x02\x07" {
		t.Errorf("address: got %q", got)
	}
	b.must("http_req.downstream_server_ip_addr", buffer, 0)
	if b.u32(0) != 16 {
		t.Errorf("the server's address has %d bytes", b.u32(0))
	}
	b.x.down.Client.Server = netip.AddrPort{}
	b.must("http_downstream.downstream_server_ip_addr", h, buffer, 0)
	if got := b.got(); got != "\x00\x00\x00\x00" {
		t.Errorf("an address that nobody knows: got %q", got)
	}
	b.must("http_downstream.downstream_client_request_id", h, buffer, bufferSize, 0)
	b.refused(None, "http_downstream.downstream_tls_protocol", h, buffer, bufferSize, 0)
	b.refused(None, "http_downstream.downstream_tls_ja3_md5", h, buffer, 0)
	b.must("http_downstream.downstream_original_header_count", h, 0)
	if b.u32(0) != 2 {
		t.Errorf("%d fields, want host and x-two", b.u32(0))
	}
	b.x.down.Client.FieldNames = "hOST\nx-One\nX-Two\nx-one"
	b.must("http_downstream.downstream_original_header_count", h, 0)
	if b.u32(0) != 4 {
		t.Errorf("%d fields, want 4 as they came", b.u32(0))
	}
	b.must("http_downstream.downstream_original_header_names", h, buffer, bufferSize, 0, 8, 0)
	if got := b.got(); got != "hOST\x00x-One\x00X-Two\x00" {
		t.Errorf("the names are %q, want each once, as they came", got)
	}
	b.must("http_req.new", 0)
	b.refused(Failed, "http_downstream.downstream_client_ip_addr", b.u32(0), buffer, 0)
}

// answerWith makes an answer with a body of these parts.
func (b *bench) answerWith(status int, parts ...string) (resp, body uint32) {
	b.t.Helper()
	b.must("http_resp.new", 0)
	resp = b.u32(0)
	b.must("http_resp.status_set", resp, status)
	b.must("http_body.new", 0)
	body = b.u32(0)
	for _, p := range parts {
		b.must("http_body.write", body, text(p), 0, 0)
	}
	return resp, body
}

func TestAnAnswerIsSentWhole(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	resp, body := b.answerWith(201, "b", "c")
	b.must("http_resp.header_insert", resp, text("x-a"), text("1"))
	b.must("http_resp.header_append", resp, text("x-a"), text("2"))
	b.must("http_resp.header_insert", resp, text("content-length"), text("99"))
	b.must("http_body.write", body, text("a"), 1, 0)
	b.must("http_resp.send_downstream", resp, body, 0)
	b.refused(BadHandle, "http_resp.status_get", resp, 0)
	b.refused(BadHandle, "http_body.write", body, text("d"), 0, 0)
	again, body := b.answerWith(200)
	b.refused(Failed, "http_resp.send_downstream", again, body, 0)
	b.end()
	if b.w.Code != 201 || b.w.Body.String() != "abc" || b.w.Header().Get("Content-Length") != "3" {
		t.Errorf("got %d %q with length %q", b.w.Code, b.w.Body, b.w.Header().Get("Content-Length"))
	}
	if got := b.w.Header()["X-A"]; len(got) != 2 {
		t.Errorf("x-a: got %q", got)
	}
}

func TestAStreamingAnswerGoesOutAsItIsWritten(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	resp, body := b.answerWith(200, "one ")
	b.must("http_resp.send_downstream", resp, body, 1)
	if got := b.w.Body.String(); got != "one " || !b.w.Flushed {
		t.Errorf("after the head: %q, flushed %v", got, b.w.Flushed)
	}
	b.must("http_body.write", body, text("two"), 0, 0)
	if got := b.w.Body.String(); got != "one two" {
		t.Errorf("after a write: %q", got)
	}
	b.refused(BadHandle, "http_body.write", body, text("zero"), 1, 0)
	b.refused(BadHandle, "http_body.read", body, buffer, bufferSize, 0)
	b.refused(None, "http_body.known_length", body, 8)
	b.refused(Invalid, "http_body.trailer_names_get", body, buffer, bufferSize, 0, 8, 0)
	b.must("async_io.is_ready", body, 0)
	if b.u32(0) != 1 {
		t.Error("a body that can be written to is not ready")
	}
	b.must("http_body.trailer_append", body, text("x-sum"), text("7"))
	b.must("http_body.close", body)
	b.end()
	if got := b.w.Result().Trailer.Get("X-Sum"); got != "7" && b.w.Header().Get(http.TrailerPrefix+"X-Sum") != "7" {
		t.Errorf("trailer: got %q", got)
	}
	if !b.x.down.unbroken.Load() {
		t.Error("an answer that was finished counts as broken")
	}
}

func TestAnAnswerThatIsNotFinishedIsBroken(t *testing.T) {
	server := served(t, Options{}, func(b *bench) {
		resp, body := b.answerWith(200, "half")
		b.must("http_resp.send_downstream", resp, body, 1)
	})
	resp, err := http.Get(server)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if data, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("got %q without an error, want a body that breaks off", data)
	}
}

// Fastly's library for Go sends hints and then the answer by the same handles.
func TestHintsLeaveTheAnswerToBeSent(t *testing.T) {
	server := served(t, Options{}, func(b *bench) {
		resp, body := b.answerWith(103)
		b.must("http_resp.header_insert", resp, text("link"), text("</a.css>; rel=preload"))
		b.must("http_resp.send_downstream", resp, body, 0)
		b.must("http_resp.header_insert", resp, text("x-late"), text("yes"))
		b.must("http_resp.status_set", resp, 200)
		b.must("http_resp.send_downstream", resp, body, 1)
		b.must("http_body.write", body, text("page"), 0, 0)
		b.must("http_body.close", body)
	})
	resp, err := http.Get(server)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if page, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(page) != "page" || err != nil || resp.Header.Get("X-Late") != "yes" {
		t.Errorf("got %d %q, %v", resp.StatusCode, page, err)
	}
}

func TestInformationalAnswers(t *testing.T) {
	server := served(t, Options{}, func(b *bench) {
		b.x.down.W.Header().Set("X-Edge", "kept")
		resp, body := b.answerWith(103)
		b.must("http_resp.header_insert", resp, text("link"), text("</a.css>; rel=preload"))
		b.must("http_resp.send_downstream", resp, body, 0)
		resp, body = b.answerWith(100)
		b.refused(HTTPUser, "http_resp.send_downstream", resp, body, 0)
		b.refused(Invalid, "http_resp.status_set", resp, 99)
		b.must("http_resp.status_set", resp, 204)
		b.must("http_resp.send_downstream", resp, body, 0)
	})
	hint := ""
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hint = http.StatusText(code) + " " + h.Get("Link")
		return nil
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", server, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if hint != "Early Hints </a.css>; rel=preload" || resp.StatusCode != 204 || resp.Header.Get("Link") != "" || resp.Header.Get("X-Edge") != "kept" {
		t.Errorf("got %q, then %d with link %q", hint, resp.StatusCode, resp.Header.Get("Link"))
	}
}

// served is the URL of a server whose answers the guest makes.
func served(t *testing.T, o Options, guest func(b *bench)) string {
	a := New(o)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := a.Begin(r.Context(), &compute.Invocation{W: w, R: r}).(*exchange)
		guest(&bench{t: t, x: x, p: &program64k{memory: make([]byte, 64<<10)}, next: 1024})
		a.End(x)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestBodiesAreJoined(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	defer b.end()
	_, first := b.answerWith(200, "one, ")
	_, second := b.answerWith(200, "two")
	b.must("http_body.trailer_append", second, text("x-t"), text("v"))
	b.must("http_body.append", first, second)
	b.refused(BadHandle, "http_body.read", second, buffer, bufferSize, 0)
	b.refused(Invalid, "http_body.append", first, first)
	b.must("http_body.known_length", first, 8)
	if got := b.read(first); got != "one, two" || b.u64(8) != 8 {
		t.Errorf("got %q, length %d", got, b.u64(8))
	}
	b.must("http_body.trailer_value_get", first, text("x-t"), buffer, bufferSize, 0)
	b.must("http_body.abandon", first)
	b.refused(BadHandle, "http_body.close", first)
}

func TestWhatAProgramBuffersIsBounded(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	defer b.end()
	_, body := b.answerWith(200)
	var got Status
	for range maxBuffered/16384 + 1 {
		if got = b.call("http_body.write", body, 1024, 16384, 0, 0); got != OK {
			break
		}
	}
	if got != LimitExceeded {
		t.Errorf("an endless body: got %v", got)
	}
	b.must("http_body.close", body)
	_, body = b.answerWith(200, "there is room again")
	b.must("http_body.close", body)
}

func TestASandboxServesAnotherRequestIfTheNodeLetsIt(t *testing.T) {
	b := newBench(t, Options{}, nil, nil)
	b.must("http_downstream.next_request", 0, 0, 0)
	b.refused(None, "http_downstream.next_request_wait", b.u32(0), 8, 12)

	second, done := httptest.NewRecorder(), false
	said := ""
	b.x.down.request = &Request{Next: nextOnce(&Following{
		Begin: func() { said += "begun " }, Refuse: func() { said += "refused " },
		Invocation: &compute.Invocation{
			W: second, R: httptest.NewRequest("GET", "http://shop.example/second", nil),
			Extra: &Request{Done: func(time.Duration) { done = true }},
		},
	})}
	b.must("http_req.body_downstream_get", 0, 4)
	resp, body := b.answerWith(200, "first")
	b.must("http_resp.send_downstream", resp, body, 0)
	b.must("http_downstream.next_request", 0, 0, 0)
	b.must("http_downstream.next_request_wait", b.u32(0), 8, 12)
	h := b.u32(8)
	b.must("http_req.uri_get", h, buffer, bufferSize, 0)
	if got := b.got(); got != "http://shop.example/second" {
		t.Errorf("the second request: got %q", got)
	}
	resp, body = b.answerWith(200, "second")
	b.must("http_resp.send_downstream", resp, body, 0)
	b.must("http_downstream.next_request", 0, 0, 0)
	b.must("http_downstream.next_request_abandon", b.u32(0))
	b.end()
	if b.w.Body.String() != "first" || second.Body.String() != "second" || !done {
		t.Errorf("got %q and %q, done %v", b.w.Body, second.Body, done)
	}
	if said != "begun " {
		t.Errorf("the node was told %q", said)
	}
}

// nextOnce is one more request.
func nextOnce(f *Following) func(context.Context, time.Duration) *Following {
	return func(context.Context, time.Duration) *Following {
		defer func() { f = nil }()
		return f
	}
}

func TestANextRequestThatTheGuestDoesNotWantGoesBack(t *testing.T) {
	for _, abandon := range []bool{true, false} {
		b := newBench(t, Options{}, nil, nil)
		said := ""
		b.x.down.request = &Request{Next: nextOnce(&Following{Begin: func() { said += "begun " }, Refuse: func() { said += "refused " }})}
		b.must("http_downstream.next_request", 0, 0, 0)
		if abandon {
			b.must("http_downstream.next_request_abandon", b.u32(0))
		}
		b.end()
		if said != "refused " {
			t.Errorf("abandoned %v: the node was told %q", abandon, said)
		}
	}
}

func TestWhatARequestLeftOpenEndsWithItButForStores(t *testing.T) {
	b := newBench(t, services(new([]string)), nil, nil)
	b.must("config_store.open", text("conf"), 20)
	store := b.u32(20)
	b.must("http_req.body_downstream_get", 0, 4)
	old := b.u32(0)
	_, left := b.answerWith(200, "nobody gets this")
	b.x.down.request = &Request{Next: nextOnce(&Following{
		Begin: func() {}, Refuse: func() { t.Error("it was refused") },
		Invocation: &compute.Invocation{W: httptest.NewRecorder(), R: httptest.NewRequest("GET", "http://shop.example/second", nil)},
	})}
	b.must("http_downstream.next_request", 0, 0, 0)
	b.must("http_downstream.next_request_wait", b.u32(0), 8, 12)
	b.refused(BadHandle, "http_req.method_get", old, buffer, bufferSize, 0)
	b.refused(BadHandle, "http_body.read", left, buffer, bufferSize, 0)
	b.must("config_store.get", store, text("greeting"), buffer, bufferSize, 0)
	b.end()
}

// waitedFor is a client who may never read: it notes what is sent to it while the guest does not wait.
type waitedFor struct {
	*httptest.ResponseRecorder
	p     *program64k
	early []string
}

func (w *waitedFor) note(what string) {
	if w.p.waiting == 0 {
		w.early = append(w.early, what)
	}
}

func (w *waitedFor) WriteHeader(status int) {
	if status < 200 {
		w.note("hints")
	}
	w.ResponseRecorder.WriteHeader(status)
}

func (w *waitedFor) Write(p []byte) (int, error) {
	w.note("bytes")
	return w.ResponseRecorder.Write(p)
}

func (w *waitedFor) FlushError() error {
	w.note("flush")
	return nil
}

// A guest that waits for its client has no thread, no turn of those who compute for long, and uses no time.
func TestTheGuestWaitsForItsClient(t *testing.T) {
	for streaming := range 2 {
		b := newBench(t, Options{}, nil, nil)
		client := &waitedFor{ResponseRecorder: b.w, p: b.p}
		b.x.down.W = client
		resp, body := b.answerWith(103)
		b.must("http_resp.send_downstream", resp, body, 0)
		b.must("http_resp.status_set", resp, 200)
		b.must("http_body.write", body, text("whole"), 0, 0)
		b.must("http_resp.send_downstream", resp, body, streaming)
		if streaming == 1 {
			b.must("http_body.write", body, text(" and more"), 0, 0)
			b.must("http_body.close", body)
		}
		b.end()
		if len(client.early) > 0 || b.w.Body.Len() == 0 {
			t.Errorf("streaming %d: %q were sent while the guest did not wait, of %q", streaming, client.early, b.w.Body)
		}
	}
}
