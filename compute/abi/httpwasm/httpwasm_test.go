package httpwasm

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// buffering enables features for all requests.
func buffering(f features) *script { return new(script).early("enable_features", int(f)) }

func TestAGuestReadsTheRequest(t *testing.T) {
	s := new(script)
	s.show(false, "get_method").show(false, "get_uri").show(false, "get_protocol_version").show(false, "get_source_addr")
	s.show(false, "get_header_names", 0).show(false, "get_header_values", 0, "x-tWo").show(false, "get_header_values", 0, "Host").show(false, "get_header_values", 0, "none")
	s.show(false, "get_config").show(false, "read_body", 0)
	b := newBed(t, s.module(0), Options{Config: []byte("{}")}, compute.Limits{})
	b.want(200, "[POST][/a%20b?q=1][HTTP/1.1][192.0.2.7:4711][host\x00x-one\x00x-two\x00][a\x00b\x00][shop.example\x00][][{}][hello]")
}

func TestAGuestChangesTheRequest(t *testing.T) {
	s := new(script).do("set_method", "PUT").do("set_uri", "/c%2Fd?e=%20").do("set_header_value", 0, "x-guest", "was").do("set_header_value", 0, "X-Guest", "here")
	s.do("add_header_value", 0, "x-guest", "too").do("remove_header", 0, "x-one").do("set_header_value", 0, "host", "other.example")
	s.do("write_body", 0, "by the ").do("write_body", 0, "guest")
	b := newBed(t, s.module(1), Options{}, compute.Limits{})
	b.origin = func(r *http.Request) (*http.Response, error) {
		if got := fmt.Sprint(r.Header["X-Guest"], r.Header["X-One"], r.ContentLength); got != "[here too] [] 12" {
			t.Errorf("the origin got %s", got)
		}
		return echo(r)
	}
	b.want(203, "PUT other.example/c%2Fd?e=%20 by the guest ")
}

func TestAnEmptyURIIsTheRoot(t *testing.T) {
	for uri, want := range map[string]string{"": "/", "//a/b?c": "//a/b?c", "/?": "/?"} {
		newBed(t, new(script).do("set_uri", uri).module(1), Options{}, compute.Limits{}).want(203, "POST shop.example"+want+" hello ")
	}
}

func TestAGuestAnswersItself(t *testing.T) {
	s := new(script).do("set_status_code", 418).do("set_header_value", 1, "x-a", "1").do("add_header_value", 1, "X-A", "2").do("set_header_value", 1, "x-b", "").do("remove_header", 1, "x-b")
	s.do("write_body", 1, "tea").do("write_body", 1, "pot").show(false, "get_header_values", 1, "x-a").show(false, "get_header_names", 1)
	res := newBed(t, s.module(0), Options{}, compute.Limits{}).want(418, "teapot[1\x002\x00][x-a\x00]")
	if fmt.Sprint(res.Header["X-A"]) != "[1 2]" || res.Header.Get("Content-Length") != "18" {
		t.Errorf("fields: %v", res.Header)
	}
	newBed(t, new(script).module(0), Options{}, compute.Limits{}).want(200, "")
}

func TestTheOriginsAnswerIsAddedTo(t *testing.T) {
	s := new(script).do("set_header_value", 1, "x-origin", "before").do("set_header_value", 0, "x-guest", "sent")
	res := newBed(t, s.module(1), Options{}, compute.Limits{}).want(203, "POST shop.example/a%20b?q=1 hello ")
	if fmt.Sprint(res.Header["X-Origin"], res.Trailer) != "[before sent] map[X-End:[origin]]" {
		t.Errorf("fields: %v %v", res.Header, res.Trailer)
	}
	newBed(t, new(script).do("set_status_code", 299).do("write_body", 1, "mine").module(1), Options{}, compute.Limits{}).want(299, "mine")
}

func TestABufferedAnswerCanBeChanged(t *testing.T) {
	s := buffering(bufferResponse).show(true, "read_body", 1).show(true, "get_header_names", 1).then("set_status_code", 201).then("remove_header", 1, "x-origin")
	res := newBed(t, s.module(1), Options{}, compute.Limits{}).want(201, "[POST shop.example/a%20b?q=1 hello ][x-length\x00x-origin\x00]")
	if res.Header["X-Origin"] != nil || res.Header.Get("X-Length") == "" {
		t.Errorf("fields: %v", res.Header)
	}
	// What was written before is not added to.
	s = buffering(bufferResponse).do("write_body", 1, "before").then("write_body", 1, "after")
	newBed(t, s.module(1), Options{}, compute.Limits{}).want(203, "after")
	// Nothing of it has to be changed, and its status can be seen.
	s = buffering(bufferResponse)
	s.response.WriteString("call $get_status_code\ni32.const 203\ni32.ne\nif\nunreachable\nend\nlocal.get 0\ni32.const 7\ni32.ne\nif\nunreachable\nend\n")
	newBed(t, s.module(1), Options{}, compute.Limits{}).want(203, "POST shop.example/a%20b?q=1 hello ")
}

func TestAFeatureOfOneRequestIsNotTheNextOnes(t *testing.T) {
	s := new(script)
	s.push(&s.request, 0, "x-buffer", buffer, room)
	s.request.WriteString("call $get_header_values\ni64.eqz\ni32.eqz\nif\ni32.const 2\ncall $enable_features\ndrop\nend\n")
	s.then("write_body", 1, "changed")
	b := newBed(t, s.module(1), Options{}, compute.Limits{})
	r := post()
	r.Header.Set("X-Buffer", "yes")
	if _, body, err := b.serve(r); err != nil || body != "changed" {
		t.Errorf("got %q, %v", body, err)
	}
	if _, _, err := b.serve(post()); err == nil || !strings.Contains(err.Error(), "enable buffer_response") {
		t.Errorf("got %v, want that the answer was sent on", err)
	}
}

func TestABufferedRequestGoesOnWhole(t *testing.T) {
	for f, want := range map[features]string{0: "", bufferRequest: "hello"} {
		s := buffering(f).do("read_body", 0, buffer, 3).do("read_body", 0, buffer, 9)
		newBed(t, s.module(1), Options{}, compute.Limits{}).want(203, "POST shop.example/a%20b?q=1 "+want+" ")
	}
	// What was not read goes on in any case, with a length that nobody knows.
	b := newBed(t, new(script).do("read_body", 0, buffer, 3).module(1), Options{}, compute.Limits{})
	if res := b.want(203, "POST shop.example/a%20b?q=1 lo "); res.Header.Get("X-Length") != "-1" {
		t.Errorf("length %s", res.Header.Get("X-Length"))
	}
}

func TestTheEndOfABodyIsSeenWithItsLastBytes(t *testing.T) {
	for room, want := range map[int]uint64{5: 5, 6: eof | 5, 2: 2} {
		s := new(script)
		s.push(&s.request, 0, buffer, room)
		fmt.Fprintf(&s.request, "call $read_body\ni64.const %d\ni64.ne\nif\nunreachable\nend\n", want)
		newBed(t, s.module(0), Options{}, compute.Limits{}).want(200, "")
	}
}

func TestTrailersBothWays(t *testing.T) {
	s := buffering(trailers|bufferResponse|bufferRequest).do("read_body", 0, buffer, room).do("set_header_value", 2, "x-end", "guest").show(true, "get_header_values", 2, "x-sent")
	s.then("add_header_value", 3, "x-end", "guest").then("set_header_value", 3, "x-gone", "1").then("remove_header", 3, "x-gone").show(true, "get_header_names", 3)
	b := newBed(t, s.module(1), Options{}, compute.Limits{})
	r := post()
	r.Trailer = http.Header{"X-Sent": {"client"}}
	b.origin = func(r *http.Request) (*http.Response, error) {
		if r.Trailer.Get("X-End") != "guest" || r.Trailer.Get("X-Sent") != "client" {
			t.Errorf("the origin's trailers: %v", r.Trailer)
		}
		return echo(r)
	}
	res, body, err := b.serve(r)
	if err != nil || body != "[client\x00][x-end\x00]" || fmt.Sprint(res.Trailer) != "map[X-End:[origin guest]]" {
		t.Errorf("got %q, trailers %v, %v", body, res.Trailer, err)
	}
	// Without the feature there are none, and none can be set.
	newBed(t, new(script).show(false, "get_header_names", 2).show(false, "get_header_values", 3, "x-end").module(0), Options{}, compute.Limits{}).want(200, "[][]")
	wantTrap(t, new(script).do("set_header_value", 3, "a", "b"), 0, "trailers were not enabled")
}

func TestLogLevels(t *testing.T) {
	s := new(script).early("log", 0, "starts")
	for level := range 5 {
		s.do("log", level-1, "line")
	}
	s.request.WriteString("i32.const -1\ncall $log_enabled\ni32.const 2\ni32.shl\ni32.const 1\ncall $log_enabled\ni32.const 1\ni32.shl\ni32.or\ni32.const 3\ncall $log_enabled\ni32.or\ni32.const 2\ni32.ne\nif\nunreachable\nend\n")
	b := newBed(t, s.module(0), Options{Level: Warn}, compute.Limits{})
	b.want(200, "")
	if got := b.log.String(); got != "warn: line\nerror: line\nwarn: line\nerror: line\n" {
		t.Errorf("log: %q", got)
	}
	b = newBed(t, new(script).early("log", 0, "starts").do("log", 0, "line").module(0), Options{}, compute.Limits{LogBytes: 10})
	b.want(200, "")
	if got := b.log.String(); got != "info: starinfo: line" { // what is more is dropped
		t.Errorf("log: %q", got)
	}
	for word, level := range map[string]Level{"debug": Debug, "info": Info, "": Info, "error": Error, "none": None} {
		if got := ParseLevel(word); got != level {
			t.Errorf("%q is %d, want %d", word, got, level)
		}
	}
}

func TestAnOriginsErrorIsNotTheGuests(t *testing.T) {
	refused := &selvage.ProxyError{Type: selvage.ConnectionRefused, Origin: "web"}
	fail := func(*http.Request) (*http.Response, error) { return nil, refused }
	b := newBed(t, new(script).module(1), Options{}, compute.Limits{})
	b.origin = fail
	for range 3 {
		_, _, err := b.serve(post())
		failed, ok := errors.AsType[*compute.Failed](err)
		if !ok || failed.Err != refused {
			t.Errorf("got %v, want the origin's error", err)
		}
	}
	if !b.usage.Rewound {
		t.Error("the sandbox was not set back")
	}
	b.none = true
	if _, _, err := b.serve(post()); !errors.Is(err, errNoOrigin) {
		t.Errorf("got %v", err)
	}
	// The guest may make up for it.
	s := new(script)
	s.response.WriteString("local.get 1\ni32.eqz\nif\nunreachable\nend\n")
	b = newBed(t, s.then("set_status_code", 503).then("write_body", 1, "later").module(1), Options{}, compute.Limits{})
	b.origin = fail
	b.want(503, "later")
}

func TestAnAnswerThatBreaksOffIsAnError(t *testing.T) {
	for _, f := range []features{0, bufferResponse} {
		b := newBed(t, buffering(f).module(1), Options{}, compute.Limits{})
		b.origin = func(r *http.Request) (*http.Response, error) {
			res, err := echo(r)
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader("some"), iotest.ErrReader(io.ErrUnexpectedEOF)))
			return res, err
		}
		if _, _, err := b.serve(post()); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("features %d: got %v", f, err)
		}
	}
}

func TestWhatIsKeptOfBodiesIsBounded(t *testing.T) {
	big := strings.Repeat("x", 5000)
	for name, s := range map[string]*script{
		"request":  buffering(bufferRequest).do("read_body", 0, buffer, room),
		"answer":   buffering(bufferResponse),
		"written":  new(script).do("write_body", 1, big),
		"its own":  new(script).do("write_body", 0, big),
		"together": buffering(bufferRequest|bufferResponse).do("read_body", 0, buffer, 2500).do("write_body", 0, big[:2500]),
	} {
		b := newBed(t, s.module(1), Options{BodyBytes: 4096}, compute.Limits{})
		_, _, err := b.serve(httptest.NewRequest("POST", "/", strings.NewReader(big)))
		limit, ok := errors.AsType[*compute.LimitError](err)
		if !ok || limit.Name != LimitBodies {
			t.Errorf("%s: got %v, want the limit of bodies", name, err)
		}
	}
	b := newBed(t, new(script).do("write_body", 0, "a").module(1), Options{}, compute.Limits{})
	b.origin = func(r *http.Request) (*http.Response, error) {
		res, err := echo(r)
		res.Body = io.NopCloser(io.LimitReader(strings.NewReader(strings.Repeat(big, 2000)), 9_000_000))
		return res, err
	}
	if _, body, err := b.serve(post()); err != nil || len(body) != 9_000_000 {
		t.Errorf("an answer that is not buffered: %d bytes, %v", len(body), err)
	}
}

func TestFieldsAreBounded(t *testing.T) {
	s := new(script)
	s.request.WriteString("loop\n")
	s.do("add_header_value", 1, "x-long", strings.Repeat("v", 100))
	s.request.WriteString("br 0\nend\n")
	b := newBed(t, s.module(0), Options{}, compute.Limits{HeaderBytes: 1000})
	_, _, err := b.serve(post())
	if limit, ok := errors.AsType[*compute.LimitError](err); !ok || limit.Name != compute.LimitHeaderBytes || limit.Trap == nil {
		t.Errorf("got %v, want the limit of fields, with a trap", err)
	}
	s = new(script)
	for range 12 {
		s.do("add_header_value", 1, "x-long", strings.Repeat("v", 100))
	}
	b = newBed(t, s.module(0), Options{}, compute.Limits{HeaderBytes: 1000})
	if _, _, err = b.serve(post()); err == nil || !strings.Contains(err.Error(), "1000 are allowed") {
		t.Errorf("got %v", err)
	}
}

// wantTrap sends a request to a guest that does something wrong.
func wantTrap(t *testing.T, s *script, next int, text string) {
	t.Helper()
	b := newBed(t, s.module(next), Options{}, compute.Limits{})
	_, _, err := b.serve(post())
	trap, ok := errors.AsType[*compute.Trap](err)
	if !ok || trap.Kind != compute.BadCall || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want a trap that says %q", err, text)
	}
}

func TestWhatMakesNoSenseIsATrapThatSaysSo(t *testing.T) {
	for text, s := range map[string]*script{
		`"" is no method`:                            new(script).do("set_method", ""),
		`"A B" is no method`:                         new(script).do("set_method", "A B"),
		`"CONNECT" is no method`:                     new(script).do("set_method", "CONNECT"),
		`"http://a/" is no path`:                     new(script).do("set_uri", "http://a/"),
		`is no path`:                                 new(script).do("set_uri", "/%zz"),
		`"" is no name of a field`:                   new(script).do("get_header_values", 0, "", buffer, room),
		`"a b" is no name of a field`:                new(script).do("set_header_value", 1, "a b", "c"),
		`may not have "\r\n\x00"`:                    new(script).do("add_header_value", 1, "a", "b\r\nc: d"),
		`there is no kind 4 of fields`:               new(script).do("get_header_names", 4, buffer, room),
		`there is no kind 2 of bodies`:               new(script).do("write_body", 2, "a"),
		`its buffer has no room`:                     new(script).do("read_body", 0, buffer, 0),
		`99 is no status`:                            new(script).do("set_status_code", 99),
		`a request is for one host`:                  new(script).do("remove_header", 0, "host"),
		`"a/b" is not`:                               new(script).do("set_header_value", 0, "host", "a/b"),
		`200 bytes at 131000 are not in its memory`:  new(script).do("set_method", 131000, 200),
		`4 bytes at 4294967295 are not`:              new(script).do("get_method", math.MaxUint32, 9),
		`17 bytes at 4294967295 are not`:             new(script).do("get_header_names", 0, math.MaxUint32, 99),
		`set_method: the request was sent on`:        new(script).then("set_method", "GET"),
		`write_body: the request was sent on`:        new(script).then("write_body", 0, "a"),
		`the answer was sent on`:                     new(script).then("set_status_code", 200),
		`enable buffer_request to read`:              new(script).then("read_body", 0, buffer, 9),
		`it may not ask for its request while it st`: new(script).early("get_method", buffer, room),
	} {
		wantTrap(t, s, 1, text)
	}
}

func TestWhatIsNoHandlerIsNotCompiled(t *testing.T) {
	for want, text := range map[string]string{
		"exports no function handle_request":                     "memory 1\n",
		"exports no function handle_response":                    "func $a export=handle_request -> i64\ni64.const 0\nendfunc\n",
		"exports handle_request as a function of another type":   "func $a export=handle_request\nendfunc\nfunc $b export=handle_response i32,i32\nendfunc\n",
		"imports http_handler.get_method as a function of anoth": "import http_handler get_method $m\nfunc $a export=handle_request -> i64\ni64.const 0\nendfunc\nfunc $b export=handle_response i32,i32\nendfunc\n",
		"imports what http-wasm does not have: http_handler.fly": "import http_handler fly $m\nfunc $a export=handle_request -> i64\ni64.const 0\nendfunc\nfunc $b export=handle_response i32,i32\nendfunc\n",
	} {
		e := compute.New(compute.Options{})
		if _, err := e.Compile(t.Context(), asm.Assemble(text), compute.Program{ABI: New(Options{})}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
