package fastly

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// ask makes a request with an empty body.
func (b *bench) ask(method, uri string) (req, body uint32) {
	b.t.Helper()
	b.must("http_req.new", 0)
	req = b.u32(0)
	b.must("http_req.method_set", req, text(method))
	b.must("http_req.uri_set", req, text(uri))
	b.must("http_body.new", 0)
	return req, b.u32(0)
}

func TestARequestIsSentToABackend(t *testing.T) {
	var sent *http.Request
	var sentBody, backend string
	b := newBench(t, Options{}, nil, func(name string, r *http.Request) (*http.Response, error) {
		data, _ := io.ReadAll(r.Body)
		sent, sentBody, backend = r, string(data), name
		return fetched(200, "answer", "X-One", "1")(name, r)
	})
	defer b.end()
	req, body := b.ask("POST", "https://api.example/v1?q")
	b.must("http_req.header_insert", req, text("host"), text("other.example"))
	b.must("http_req.header_insert", req, text("Content-Length"), text("17"))
	b.must("http_req.header_insert", req, text("connection"), text("close, X-Hop"))
	b.must("http_req.header_insert", req, text("x-hop"), text("1"))
	b.must("http_body.write", body, text("question"), 0, 0)
	b.must("http_req.cache_override_v2_set", req, 1|2|4|8, 60, 30, text("k1 k2"))
	b.must("http_req.send_v2", req, body, text("api"), 64, 0, 4)
	resp, answer := b.u32(0), b.u32(4)
	if backend != "api" || sent.Method != "POST" || sent.URL.String() != "https://api.example/v1?q" || sent.Host != "other.example" {
		t.Errorf("got %s %s to %s with host %s", sent.Method, sent.URL, backend, sent.Host)
	}
	if sentBody != "question" || sent.ContentLength != 8 || sent.Header.Get("Content-Length") != "" {
		t.Errorf("body %q, length %d, field %q", sentBody, sent.ContentLength, sent.Header.Get("Content-Length"))
	}
	if len(sent.Header) != 0 {
		t.Errorf("fields of the connection were sent: %v", sent.Header)
	}
	o := OverrideOf(sent.Context())
	if !o.Pass || !o.PCI || *o.TTL != time.Minute || *o.StaleWhileRevalidate != 30*time.Second || o.SurrogateKeys != "k1 k2" {
		t.Errorf("override: got %+v", o)
	}
	if b.u32(64) != detailOK {
		t.Errorf("detail: got %d", b.u32(64))
	}
	b.must("http_resp.header_value_get", resp, text("x-one"), buffer, bufferSize, 0)
	if got := b.read(answer); got != "answer" {
		t.Errorf("answer: got %q", got)
	}
	b.refused(BadHandle, "http_req.method_get", req, buffer, bufferSize, 0)
	b.refused(None, "http_resp.get_addr_dest_port", resp, 0)
}

func TestWhatIsWrongWithARequestIsTold(t *testing.T) {
	failure := error(nil)
	b := newBench(t, Options{Backends: backends{"api": {}}}, nil, func(string, *http.Request) (*http.Response, error) { return nil, failure })
	defer b.end()
	for _, c := range []struct {
		uri, backend string
		err          error
		status       Status
		tag          uint32
	}{
		{"http://api.example/", "web", nil, Invalid, detailNotFound},
		{"/path", "api", nil, HTTPUser, detailURIInvalid},
		{"http://api.example/", "api", &net.DNSError{IsNotFound: true}, Failed, detailDNSError},
		{"http://api.example/", "api", &net.DNSError{IsTimeout: true}, Failed, detailDNSTimeout},
		{"http://api.example/", "api", io.ErrUnexpectedEOF, HTTPIncomplete, detailIncompleteResponse},
		{"http://api.example/", "api", ErrNoBackend, Invalid, detailNotFound},
		{"http://api.example/", "api", errTest, Failed, detailUnavailable},
	} {
		failure = c.err
		req, body := b.ask("GET", c.uri)
		b.refused(c.status, "http_req.send_v2", req, body, text(c.backend), 64, 0, 4)
		if b.u32(64) != c.tag {
			t.Errorf("%s to %s with %v: tag %d, want %d", c.uri, c.backend, c.err, b.u32(64), c.tag)
		}
	}
}

// backends are backends of a test.
type backends map[string]Backend

func (b backends) Backend(name string) (Backend, bool) {
	v, ok := b[name]
	return v, ok
}

func TestRequestsToOriginsAreCounted(t *testing.T) {
	b := newBench(t, Options{}, nil, fetched(200, ""))
	defer b.end()
	for i := range 33 {
		req, body := b.ask("GET", "http://api.example/")
		got := b.call("http_req.send_v2", req, body, text("api"), 64, 0, 4)
		if want := OK; i == 32 && got != LimitExceeded || i < 32 && got != want {
			t.Fatalf("request %d: got %v", i, got)
		}
	}
	if b.u32(64) != detailConnectionLimit {
		t.Errorf("detail: got %d", b.u32(64))
	}
}

func TestPendingRequestsAreWaitedForInAnyOrder(t *testing.T) {
	first, second := make(chan struct{}), make(chan struct{})
	b := newBench(t, Options{}, nil, func(name string, r *http.Request) (*http.Response, error) {
		if name == "first" {
			<-first
		} else {
			<-second
		}
		return fetched(200, name)(name, r)
	})
	defer b.end()
	var pending [2]uint32
	for i, name := range []string{"first", "second"} {
		req, body := b.ask("GET", "http://api.example/")
		b.must("http_req.send_async", req, body, text(name), 0)
		pending[i] = b.u32(0)
		b.put32(512+4*i, pending[i])
	}
	b.must("http_req.pending_req_poll_v2", pending[0], 64, 0, 4, 8)
	if b.u32(0) != 0 || b.u32(4) != invalidHandle {
		t.Errorf("a request on its way: done %d, handle %d", b.u32(0), b.u32(4))
	}
	b.must("async_io.select", 512, 2, 1, 0)
	if b.u32(0) != noneReady {
		t.Errorf("select without anything ready: got %d", b.u32(0))
	}
	close(second)
	b.must("async_io.select", 512, 2, 0, 0)
	if b.u32(0) != 1 {
		t.Errorf("select: got %d, want 1", b.u32(0))
	}
	b.must("http_req.pending_req_header_insert", pending[1], text("x-added"), text("yes"), 1)
	b.must("http_req.pending_req_select_v2", 512, 2, 64, 0, 4, 8)
	if b.u32(0) != 1 || b.read(b.u32(8)) != "second" {
		t.Errorf("pending select: got %d", b.u32(0))
	}
	b.must("http_resp.header_value_get", b.u32(4), text("x-added"), buffer, bufferSize, 0)
	b.refused(BadHandle, "http_req.pending_req_wait_v2", pending[1], 64, 0, 4)
	close(first)
	b.must("http_req.pending_req_wait_v2", pending[0], 64, 0, 4)
	if got := b.read(b.u32(4)); got != "first" {
		t.Errorf("got %q", got)
	}
}

// A status that is an error says nothing of which request it was: programs in Rust end with it.
func TestASelectedRequestThatFailedIsSaidByItsHandles(t *testing.T) {
	b := newBench(t, Options{}, nil, func(string, *http.Request) (*http.Response, error) {
		return nil, io.ErrUnexpectedEOF
	})
	defer b.end()
	for _, how := range []struct {
		name string
		call []any
	}{
		{"pending_req_select", []any{512, 1, 0, 4, 8}},
		{"pending_req_select_v2", []any{512, 1, 64, 0, 4, 8}},
	} {
		req, body := b.ask("GET", "http://api.example/")
		b.must("http_req.send_async", req, body, text("first"), 0)
		b.put32(512, b.u32(0))
		b.put32(0, 77)
		b.must("http_req."+how.name, how.call...)
		if b.u32(0) != 0 || b.u32(4) != invalidHandle || b.u32(8) != invalidHandle {
			t.Errorf("%s: index %d, handles %x and %x", how.name, b.u32(0), b.u32(4), b.u32(8))
		}
	}
	if b.u32(64) == 0 {
		t.Error("the detail says nothing")
	}
}

// What is sent on unseen is answered for where it fails, with the fields that are meant for that.
func TestAPendingRequestThatFailsIsAnsweredForWhereItIsSentOn(t *testing.T) {
	for _, fails := range []bool{false, true} {
		b := newBench(t, Options{}, nil, func(name string, r *http.Request) (*http.Response, error) {
			if fails {
				return nil, io.ErrUnexpectedEOF
			}
			return fetched(200, "answer", "X-Gone", "yes", "X-Both", "origin")(name, r)
		})
		req, body := b.ask("GET", "http://api.example/")
		b.must("http_req.send_async", req, body, text("a"), 0)
		p := b.u32(0)
		b.must("http_req.pending_req_header_insert", p, text("x-both"), text("any"), int(forAny))
		b.must("http_req.pending_req_header_append", p, text("x-both"), text("failed"), int(forError))
		b.must("http_req.pending_req_header_append", p, text("x-both"), text("came"), int(forResponse))
		b.must("http_req.pending_req_header_remove", p, text("x-gone"), int(forResponse))
		b.refused(Invalid, "http_req.pending_req_header_remove", p, text("x-gone"), 3)
		b.must("http_resp.send_downstream_pending", p)
		b.end()
		got := fmt.Sprint(b.w.Code, b.w.Body.String(), b.w.Header()["X-Both"], b.w.Header()["X-Gone"])
		if want := map[bool]string{false: "200answer[any came] []", true: "502[any failed] []"}[fails]; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("it fails: %v: got %s, want %s", fails, got, want)
		}
	}
}

func TestTheAddressOfAnOriginIsToldOfWhatNoCacheAnswers(t *testing.T) {
	b := newBench(t, Options{}, nil, func(name string, r *http.Request) (*http.Response, error) {
		AnsweredFrom(r.Context(), netip.MustParseAddrPort("192.0.2.7:443"))
		return fetched(200, "")(name, r)
	})
	defer b.end()
	for _, pass := range []uint32{0, overridePass} {
		req, body := b.ask("GET", "http://api.example/")
		b.must("http_req.cache_override_set", req, pass, 0, 0)
		b.must("http_req.send", req, body, text("a"), 0, 4)
		if resp := b.u32(0); pass == 0 {
			b.refused(None, "http_resp.get_addr_dest_port", resp, 0)
			b.refused(None, "http_resp.get_addr_dest_ip", resp, buffer, 0)
		} else {
			b.must("http_resp.get_addr_dest_port", resp, 0)
			if got := binary.LittleEndian.Uint16(b.p.memory); got != 443 {
				t.Errorf("port %d", got)
			}
		}
	}
}

func TestARequestsBodyIsStreamed(t *testing.T) {
	got := make(chan string, 1)
	b := newBench(t, Options{}, nil, func(name string, r *http.Request) (*http.Response, error) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		got <- string(data) + r.Trailer.Get("X-Sum")
		return fetched(200, "")(name, r)
	})
	defer b.end()
	req, body := b.ask("PUT", "http://api.example/")
	b.must("http_body.write", body, text("before "), 0, 0)
	b.must("http_req.send_async_streaming", req, body, text("api"), 0)
	pending := b.u32(0)
	big := strings.Repeat("x", 10000)
	for range 20 { // more than the pipe holds
		b.must("http_body.write", body, text(big), 0, 0)
	}
	b.must("http_body.trailer_append", body, text("x-sum"), text("9"))
	b.must("http_body.close", body)
	b.must("http_req.pending_req_wait", pending, 0, 4)
	if s := <-got; s != "before "+strings.Repeat(big, 20)+"9" {
		t.Errorf("got %d bytes, ending in %q", len(s), s[len(s)-1:])
	}
}

func TestAStreamThatIsNotFinishedIsNotTakenForWhole(t *testing.T) {
	b := newBench(t, Options{}, nil, func(_ string, r *http.Request) (*http.Response, error) {
		_, err := io.ReadAll(r.Body)
		return nil, err
	})
	req, body := b.ask("PUT", "http://api.example/")
	b.must("http_req.send_async_v2", req, body, text("api"), 1, 0)
	pending := b.u32(0)
	b.must("http_body.write", body, text("half"), 0, 0)
	b.must("http_body.abandon", body)
	b.refused(Failed, "http_req.pending_req_wait", pending, 0, 4)

	// and one that is left open
	req, body = b.ask("PUT", "http://api.example/")
	b.must("http_req.send_async_v2", req, body, text("api"), 1, 0)
	b.end()
}

func TestAnOriginThatDoesNotReadEndsAStream(t *testing.T) {
	b := newBench(t, Options{}, nil, func(name string, r *http.Request) (*http.Response, error) {
		_ = r.Body.Close()
		return nil, errTest
	})
	defer b.end()
	req, body := b.ask("PUT", "http://api.example/")
	b.must("http_req.send_async_streaming", req, body, text("api"), 0)
	got := OK
	for range 20 {
		if got = b.call("http_body.write", body, 1024, 16384, 0, 0); got != OK {
			break
		}
	}
	if got != Failed {
		t.Errorf("writing what nobody reads: got %v", got)
	}
}

func TestGzipIsUndoneIfAskedFor(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("plain text"))
	_ = z.Close()
	b := newBench(t, Options{}, nil, fetched(200, zipped.String(), "Content-Encoding", "gzip", "Content-Length", "34"))
	defer b.end()
	req, body := b.ask("GET", "http://api.example/")
	b.must("http_req.auto_decompress_response_set", req, 1)
	b.must("http_req.send", req, body, text("api"), 0, 4)
	resp, answer := b.u32(0), b.u32(4)
	b.refused(Invalid, "http_resp.header_value_get", resp, text("content-encoding"), buffer, bufferSize, 0)
	b.refused(None, "http_body.known_length", answer, 8)
	if got := b.read(answer); got != "plain text" {
		t.Errorf("got %q", got)
	}
}

func TestABodyGoesThroughWithoutTheGuest(t *testing.T) {
	big := strings.Repeat("0123456789", 100_000)
	b := newBench(t, Options{}, nil, fetched(200, big, "X-O", "1"))
	req, body := b.ask("GET", "http://api.example/")
	b.must("http_req.send", req, body, text("api"), 0, 4)
	b.must("http_resp.send_downstream", b.u32(0), b.u32(4), 0)
	b.end()
	if b.w.Body.String() != big || b.w.Header().Get("X-O") != "1" {
		t.Errorf("got %d bytes of %d", b.w.Body.Len(), len(big))
	}
	b = newBench(t, Options{}, nil, fetched(203, "pending"))
	req, body = b.ask("GET", "http://api.example/")
	b.must("http_req.send_async", req, body, text("api"), 0)
	b.must("http_resp.send_downstream_pending", b.u32(0))
	b.end()
	if b.w.Code != 203 || b.w.Body.String() != "pending" {
		t.Errorf("got %d %q", b.w.Code, b.w.Body)
	}
}

func TestBackendsAreDescribed(t *testing.T) {
	made := []DynamicBackend{}
	o := Options{Backends: backends{"api": {
		Host: "api.example", Port: 443, TLS: true, MinTLS: 12, MaxTLS: 13, Connect: time.Second, Health: Healthy, KeepAlive: &KeepAlive{Probes: 3},
	}}}
	b := newBench(t, o, nil, nil)
	b.must("backend.exists", text("api"), 0)
	b.must("backend.exists", text("web"), 4)
	if b.u32(0) != 1 || b.u32(4) != 0 {
		t.Errorf("exists: %d and %d", b.u32(0), b.u32(4))
	}
	b.must("backend.get_host", text("api"), buffer, bufferSize, 0)
	if b.got() != "api.example" {
		t.Errorf("host: %q", b.got())
	}
	for name, want := range map[string]uint32{
		"get_connect_timeout_ms": 1000, "is_healthy": 1, "is_ssl": 1, "is_dynamic": 0, "get_ssl_min_version": 2, "get_ssl_max_version": 3, "get_tcp_keepalive_probes": 3,
	} {
		b.must("backend."+name, text("api"), 0)
		if b.u32(0) != want {
			t.Errorf("%s: got %d, want %d", name, b.u32(0), want)
		}
	}
	b.refused(None, "backend.get_first_byte_timeout_ms", text("api"), 0)
	b.refused(Invalid, "backend.is_ssl", text("web"), 0)
	b.refused(Unsupported, "http_req.register_dynamic_backend", text("dyn"), text("dyn.example"), 0, 512)
	b.end()

	o.Register = func(_ context.Context, d DynamicBackend) error {
		made = append(made, d)
		return nil
	}
	b = newBench(t, o, nil, nil)
	defer b.end()
	b.put32(512+8, 250)
	b.put32(512+20, 3)
	b.must("http_req.register_dynamic_backend", text("dyn"), text("dyn.example:8443"), dynConnect|dynTLS|dynMinTLS, 512)
	b.refused(Failed, "http_req.register_dynamic_backend", text("dyn"), text("dyn.example"), 0, 512)
	b.refused(Failed, "http_req.register_dynamic_backend", text("api"), text("dyn.example"), 0, 512)
	b.refused(Invalid, "http_req.register_dynamic_backend", text("x"), text("dyn.example"), 1, 512)
	b.must("backend.is_dynamic", text("dyn"), 0)
	if len(made) != 1 || made[0].Target != "dyn.example:8443" || made[0].Connect != 250*time.Millisecond || !made[0].TLS || made[0].MinTLS != 13 || b.u32(0) != 1 {
		t.Errorf("made %+v", made)
	}

	copy(b.p.memory[2048:], "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:AES128-SHA:TLS_AES_128_GCM_SHA256")
	b.put32(512+44, 2048)
	b.put32(512+48, 89)
	b.must("http_req.register_dynamic_backend", text("suites"), text("dyn.example"), dynTLS|dynCiphers|dynHealthCheck, 512)
	if want := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}; !slices.Equal(made[1].Ciphers, want) {
		t.Errorf("the suites are %v, want %v", made[1].Ciphers, want)
	}
	b.must("backend.is_healthy", text("suites"), 0)
	if b.u32(0) != 0 {
		t.Errorf("nobody looks whether it is healthy: %d, want 0, unknown", b.u32(0))
	}
	if d := made[1]; d.Host != "dyn.example" || d.Port != 443 || d.Connect != time.Second || d.FirstByte != 15*time.Second || d.BetweenBytes != 10*time.Second ||
		d.Idle != 10*time.Minute || *d.KeepAlive != (KeepAlive{10 * time.Second, 5 * time.Minute, 3}) || d.NoSNI {
		t.Errorf("what it did not say: %+v", d)
	}
	b.must("http_req.register_dynamic_backend", text("nameless"), text("dyn.example"), dynTLS|dynSNI, 512)
	b.refused(Invalid, "http_req.register_dynamic_backend", text("certless"), text("dyn.example"), dynTLS|dynCertificateHost, 512)
	if !made[2].NoSNI {
		t.Error("a name of no length means that none is sent")
	}
	b.must("backend.get_host", text("dyn"), buffer, bufferSize, 0)
	if b.got() != "dyn.example" {
		t.Errorf("host %q", b.got())
	}
	b.must("backend.get_port", text("dyn"), 0)
	if got := binary.LittleEndian.Uint16(b.p.memory); got != 8443 {
		t.Errorf("port %d", got)
	}
}

func TestListsOfCiphersSelectAsOpenSSLHasIt(t *testing.T) {
	for list, want := range map[string]string{
		"ECDHE-RSA-AES128-GCM-SHA256:!RC4":        "ECDHE-RSA-AES128-GCM-SHA256",
		"AES128-SHA:3DES:RSA:COMPLEMENTOFDEFAULT": "",
		"aRSA+AESGCM":               "ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-AES256-GCM-SHA384",
		"ECDSA+CHACHA20":            "ECDHE-ECDSA-CHACHA20-POLY1305",
		"ALL:-SHA1:!ECDSA:!AES":     "ECDHE-RSA-CHACHA20-POLY1305",
		"!AES:ALL:-aECDSA":          "ECDHE-RSA-CHACHA20-POLY1305",
		"-ALL:ECDHE-RSA-AES128-SHA": "ECDHE-RSA-AES128-SHA",
		"ECDHE-RSA-AES128-SHA:-ALL:ECDHE-RSA-AES256-SHA":   "ECDHE-RSA-AES256-SHA",
		"+AES:@STRENGTH:ECDHE-ECDSA-AES128-SHA, nonsense!": "ECDHE-ECDSA-AES128-SHA",
		"TLSv1.2+AES256+aRSA":                              "ECDHE-RSA-AES256-GCM-SHA384",
		":!:-:+":                                           "",
	} {
		var got []string
		for _, suite := range cipherSuites(list) {
			got = append(got, opensslNames[suite])
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, want %q", list, got, want)
		}
	}
	if all := cipherSuites("DEFAULT"); len(all) != len(opensslNames) {
		t.Errorf("DEFAULT selects %d of %d", len(all), len(opensslNames))
	}
	if none := cipherSuites("MD5"); none == nil {
		t.Error("a list that selects nothing is not a list that says nothing")
	}
}

func TestARequestThatHangsEndsWithTheGuest(t *testing.T) {
	b := newBench(t, Options{}, nil, func(_ string, r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	req, body := b.ask("GET", "http://api.example/")
	b.must("http_req.send_async", req, body, text("api"), 0)
	b.end() // hangs if it does not
}

func TestAnUploadIsPassedOn(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	defer origin.Close()
	r := httptest.NewRequest("POST", "/", strings.NewReader("echo me"))
	b := newBench(t, Options{}, r, func(_ string, r *http.Request) (*http.Response, error) { return http.DefaultTransport.RoundTrip(r) })
	b.must("http_req.body_downstream_get", 0, 4)
	req, body := b.u32(0), b.u32(4)
	b.must("http_req.uri_set", req, text(origin.URL))
	b.must("http_req.header_remove", req, text("host"))
	b.must("http_req.send", req, body, text("origin"), 0, 4)
	b.must("http_resp.send_downstream", b.u32(0), b.u32(4), 0)
	b.end()
	if b.w.Body.String() != "echo me" {
		t.Errorf("got %q", b.w.Body)
	}
}
