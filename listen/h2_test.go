package listen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// raw is a client that can break every rule of HTTP/2.
type raw struct {
	t    *testing.T
	c    net.Conn
	fr   *http2.Framer
	next uint32
}

func newRaw(t *testing.T, addr string, settings ...http2.Setting) *raw {
	t.Helper()
	return rawOn(t, dial(t, addr), settings...)
}

func rawOn(t *testing.T, c net.Conn, settings ...http2.Setting) *raw {
	t.Helper()
	_, _ = io.WriteString(c, preface)
	r := &raw{t: t, c: c, fr: http2.NewFramer(c, c), next: 1}
	r.fr.AllowIllegalWrites = true
	r.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := r.fr.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return r
}

// send begins a request with the fields "name: value", in order.
func (r *raw) send(end bool, fields ...string) (id uint32) {
	r.t.Helper()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range fields {
		name, value, _ := strings.Cut(f[1:], ": ")
		_ = enc.WriteField(hpack.HeaderField{Name: f[:1] + name, Value: value})
	}
	id = r.next
	r.next += 2
	rest := block.Bytes()
	first := rest[:min(len(rest), 16<<10)]
	rest = rest[len(first):]
	err := r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(rest) == 0})
	for err == nil && len(rest) > 0 {
		part := rest[:min(len(rest), 16<<10)]
		rest = rest[len(part):]
		err = r.fr.WriteContinuation(id, len(rest) == 0, part)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// answer is the status of the stream's answer, or how the stream ended without
// one: "reset CODE", "goaway CODE", "closed".
func (r *raw) answer(id uint32) string {
	for {
		f, err := r.fr.ReadFrame()
		if err != nil {
			return "closed"
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if s := f.PseudoValue("status"); f.StreamID == id && s != "100" {
				return s
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "reset " + f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			return "goaway " + f.ErrCode.String()
		}
	}
}

// end is how the stream ends after its answer began: "end", or as answer says.
func (r *raw) end(id uint32) string {
	for {
		f, err := r.fr.ReadFrame()
		if err != nil {
			return "closed"
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamID == id && f.StreamEnded() {
				return "end"
			}
		case *http2.DataFrame:
			if f.StreamID == id && f.StreamEnded() {
				return "end"
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "reset " + f.ErrCode.String()
			}
		}
	}
}

var head = []string{":method: GET", ":scheme: http", ":authority: a.example", ":path: /"}

// with is head with other or more fields.
func with(fields ...string) []string {
	out := append([]string(nil), head...)
	for _, f := range fields {
		name, _, _ := strings.Cut(f[1:], ": ")
		replaced := false
		for i := range out {
			if f[0] == ':' && strings.HasPrefix(out[i], ":"+name+": ") {
				out[i], replaced = f, true
			}
		}
		if !replaced {
			out = append(out, f)
		}
	}
	return out
}

func TestAmbiguousHTTP2RequestsAreRefused(t *testing.T) {
	seen := make(chan string, 1000)
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		seen <- fmt.Sprintf("%s %s %q %v", r.Host, r.RequestURI, body, err)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}, nil)
	addr := plain(t, e)
	for _, tt := range []struct {
		name   string
		fields []string
		want   string
	}{
		{"as it should be", head, "200"},
		{"asterisk", with(":method: OPTIONS", ":path: *"), "200"},
		{"Host as :authority", with("host: A.example"), "200"},
		{"Host without :authority", []string{":method: GET", ":scheme: http", ":path: /", "host: a.example"}, "200"},
		{"IPv6", with(":authority: [2001:db8::1]:8080"), "200"},
		{"other scheme", with(":scheme: https"), "200"},
		{"TE trailers", with("te: trailers"), "200"},
		{"tabulator in a value", with("x-a: a\tb"), "200"},

		{"Connection", with("connection: close"), "400"},
		{"Keep-Alive", with("keep-alive: 1"), "400"},
		{"Proxy-Connection", with("proxy-connection: close"), "400"},
		{"Transfer-Encoding", with("transfer-encoding: chunked"), "400"},
		{"Upgrade", with("upgrade: websocket"), "400"},
		{"TE gzip", with("te: gzip"), "400"},
		{"Host unlike :authority", with("host: b.example"), "400"},
		{"two Hosts", with("host: a.example", "host: a.example"), "400"},
		{"no host at all", []string{":method: GET", ":scheme: http", ":path: /"}, "400"},
		{"userinfo", with(":authority: user@a.example"), "reset PROTOCOL_ERROR"},
		{"userinfo in Host", []string{":method: GET", ":scheme: http", ":path: /", "host: user@a.example"}, "reset PROTOCOL_ERROR"},
		{"path in :authority", with(":authority: a.example/x"), "400"},
		{"space in :authority", with(":authority: a.example x"), "400"},
		{"port 0", with(":authority: a.example:0"), "400"},
		{"port without digits", with(":authority: a.example:"), "400"},
		{"empty label", with(":authority: a..example"), "400"},
		{"zone", with(":authority: [fe80::1%25eth0]"), "400"},
		{"no slash", with(":path: x"), "reset PROTOCOL_ERROR"},
		{"absolute form", with(":path: http://b.example/"), "400"},
		{"asterisk with GET", with(":path: *"), "400"},
		{"space in the path", with(":path: /a b"), "400"},
		{"version in the path", with(":path: / HTTP/1.1"), "400"},
		{"control character in the path", with(":path: /\x7f"), "reset PROTOCOL_ERROR"},
		{"beyond ASCII in the path", with(":path: /\xc3\xa9"), "400"},
		{"fragment", with(":path: /#x"), "400"},
		{"bad escape", with(":path: /%zz"), "reset PROTOCOL_ERROR"},
		{"empty path", with(":path: "), "reset PROTOCOL_ERROR"},
		{"space in the method", with(":method: GET /evil"), "400"},
		{"colon in the method", with(":method: GET:"), "400"},
		{"long method", with(":method: " + strings.Repeat("A", 129)), "501"},
		{"CONNECT", []string{":method: CONNECT", ":authority: a.example:443"}, "501"},
		{"extended CONNECT", append(with(":method: CONNECT"), ":protocol: websocket"), "reset PROTOCOL_ERROR"},
		{"line break in a value", with("x-a: a\r\nx-b: c"), "reset PROTOCOL_ERROR"},
		{"line feed in a value", with("x-a: a\nb"), "reset PROTOCOL_ERROR"},
		{"NUL in a value", with("x-a: a\x00b"), "reset PROTOCOL_ERROR"},
		{"upper case", with("X-A: b"), "reset PROTOCOL_ERROR"},
		{"space in a name", with("x a: b"), "reset PROTOCOL_ERROR"},
		{"colon in a name", with("x:a: b"), "reset PROTOCOL_ERROR"},
		{"pseudo-header field last", append([]string{"x-a: b"}, head...), "reset PROTOCOL_ERROR"},
		{"repeated pseudo-header field", append([]string{":path: /b"}, head...), "reset PROTOCOL_ERROR"},
		{"unknown pseudo-header field", append([]string{":evil: /b"}, head...), "reset PROTOCOL_ERROR"},
		{"strange scheme", with(":scheme: ftp"), "reset PROTOCOL_ERROR"},
		{"Content-Length without a body", with("content-length: 5"), "400"},
		{"signed Content-Length", with("content-length: +0"), "400"},
		{"list of Content-Lengths", with("content-length: 0, 0"), "400"},
		{"two Content-Lengths", with("content-length: 0", "content-length: 0"), "400"},
		{"Content-Length in hexadecimal", with("content-length: 0x0"), "400"},
		{"huge Content-Length", with("content-length: 99999999999999999999"), "400"},
		{"unknown expectation", with("expect: magic"), "417"},
	} {
		r := newRaw(t, addr)
		got := r.answer(r.send(true, tt.fields...))
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if got == "200" {
			if saw := <-seen; tt.want != got {
				t.Errorf("%s: the handler saw %s", tt.name, saw)
			}
		}
		_ = r.c.Close()
	}
	if len(seen) > 0 {
		t.Errorf("the handler saw %s", <-seen)
	}
}

func TestBodyOfAnotherLengthIsRefused(t *testing.T) {
	var got error
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			got = err
			panic(http.ErrAbortHandler)
		}
	}, nil)
	addr := plain(t, e)
	for i, tt := range []struct{ length, body string }{{"5", "1234"}, {"5", "123456"}, {"x", "12345"}, {"+5", "12345"}} {
		r := newRaw(t, addr)
		id := r.send(false, with(":method: POST", "content-length: "+tt.length)...)
		_ = r.fr.WriteData(id, true, []byte(tt.body))
		if s := r.answer(id); s == "200" {
			t.Errorf("Content-Length %s with %d bytes was answered with 200", tt.length, len(tt.body))
		}
		if rec := e.record(t, i); rec.Answer.Status == 200 {
			t.Errorf("the record of it is %+v", rec)
		}
	}
	if got == nil {
		t.Error("a body that is too short looked whole")
	}
}

func TestHTTP2HeadsAreLimited(t *testing.T) {
	e := start(t, hello, func(g *Group) {
		g.Limits = selvage.Limits{Head: 4 << 10, Target: 256, Fields: 20}
	})
	addr := plain(t, e)
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("x-%d: y", i))
	}
	for i, tt := range []struct {
		fields      []string
		want, limit string
	}{
		{with(":path: /" + strings.Repeat("a", 255)), "200", ""},
		{with(":path: /" + strings.Repeat("a", 256)), "414", "target"},
		{with("x-a: " + strings.Repeat("a", 3900)), "200", ""},
		{with("x-a: " + strings.Repeat("a", 4100)), "431", "head"},
		{with("x-a: " + strings.Repeat("a", 30000)), "431", "head"},
		{with(many...), "431", "fields"},
	} {
		r := newRaw(t, addr)
		if got := r.answer(r.send(true, tt.fields...)); got != tt.want {
			t.Errorf("case %d: %s, want %s", i, got, tt.want)
		}
		if rec := e.record(t, i); rec.LimitHit != tt.limit || fmt.Sprint(rec.Answer.Status) != tt.want {
			t.Errorf("case %d: the record says %d and %q, want %s and %q", i, rec.Answer.Status, rec.LimitHit, tt.want, tt.limit)
		}
		_ = r.c.Close()
	}
	r := newRaw(t, addr)
	if got := r.answer(r.send(true, with("x-a: "+strings.Repeat("a", 100_000))...)); got == "200" {
		t.Error("a giant head was answered with 200")
	}
}

func TestStreamsAreLimited(t *testing.T) {
	leave := make(chan struct{})
	inside := make(chan struct{}, 10)
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		<-leave
	}, func(g *Group) { g.Limits.Streams = 2 })
	r := newRaw(t, plain(t, e))
	first, _ := r.send(true, head...), r.send(true, head...)
	<-inside
	<-inside
	third := r.send(true, head...)
	if got := r.answer(third); !strings.HasPrefix(got, "reset ") {
		t.Errorf("the third stream: %s, want a reset", got)
	}
	if e.count(e.hits, "streams") != 1 {
		t.Errorf("limits %v, want streams once", e.hits)
	}
	close(leave)
	if got := r.answer(first); got != "200" {
		t.Errorf("the first stream: %s", got)
	}
}

func TestRecordHoldsTheFactsOfAnHTTP2Request(t *testing.T) {
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusEarlyHints)
		time.Sleep(time.Millisecond)
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "%d bytes", n)
	}, nil)
	addr := plain(t, e)
	c := client(t, nil, onlyH2C)
	for range 2 {
		resp, err := c.Post("http://"+addr+"/a%20b?secret=1", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := resp.Header["Content-Type"]; ok {
			t.Errorf("a type was guessed: %v", resp.Header)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	r := e.record(t, 1)
	want := record.Request{Method: "POST", Host: addr, Path: "/a%20b", HeadBytes: r.Request.HeadBytes, BodyBytes: 5}
	if r.Request != want || r.Request.HeadBytes < 80 {
		t.Errorf("request %+v, want %+v", r.Request, want)
	}
	if want := (record.Answer{Status: 201, BodyBytes: 7}); r.Answer != want {
		t.Errorf("answer %+v, want %+v", r.Answer, want)
	}
	if first := e.record(t, 0); first.Client.Reused || !r.Client.Reused {
		t.Errorf("reused %v and %v, want false and true", first.Client.Reused, r.Client.Reused)
	}
	if r.Client.Protocol != "HTTP/2.0" || !r.Client.Addr.IsLoopback() || r.Client.Addr != r.Client.Peer.Addr() || r.Client.TLS != 0 {
		t.Errorf("client %+v", r.Client)
	}
	if r.Start.IsZero() || r.Timing.FirstByte < time.Millisecond || r.Timing.End < r.Timing.FirstByte {
		t.Errorf("timing %+v", r.Timing)
	}
	if r.WhyBad != record.Good || r.LimitHit != "" || r.Detail != "" {
		t.Errorf("a good request is %q, %q, %q", r.WhyBad, r.LimitHit, r.Detail)
	}
}

func TestAnswerStreamsAndHasTrailers(t *testing.T) {
	step := make(chan struct{})
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Errorf("full duplex: %v", err)
		}
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "one")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush: %v", err)
		}
		<-step
		_, _ = io.WriteString(w, "two")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "6")
		w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
	}, nil)
	resp, err := client(t, nil, onlyH2C).Get("http://" + plain(t, e))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var buf [3]byte
	if _, err := io.ReadFull(resp.Body, buf[:]); err != nil || string(buf[:]) != "one" {
		t.Fatalf("the first part is %q, %v", buf, err)
	}
	close(step)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(rest) != "two" {
		t.Errorf("the rest is %q, %v", rest, err)
	}
	if resp.Trailer.Get("X-Sum") != "6" || resp.Trailer.Get("X-Late") != "yes" {
		t.Errorf("trailers %v", resp.Trailer)
	}
}

func TestBodyBeyondTheLimit(t *testing.T) {
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		late, ok := errors.AsType[*http.MaxBytesError](err)
		if !ok || late.Limit != 1000 || n != 1000 {
			t.Errorf("read %d bytes, %v; want 1000 and the limit", n, err)
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}, func(g *Group) { g.Limits.Body = 1000 })
	addr := plain(t, e)
	c := client(t, nil, onlyH2C)
	for i, body := range []io.Reader{strings.NewReader(strings.Repeat("x", 1001)), io.MultiReader(strings.NewReader(strings.Repeat("x", 1001)))} {
		resp, err := c.Post("http://"+addr, "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if r := e.record(t, i); resp.StatusCode != 413 || r.LimitHit != "body" || r.Answer.Status != 413 {
			t.Errorf("case %d: %d, record %d %q; want 413 by the limit body", i, resp.StatusCode, r.Answer.Status, r.LimitHit)
		}
	}
}

func TestPanicOfAHandlerIsRecorded(t *testing.T) {
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/before":
			panic("a defect")
		case "/after":
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic("a defect")
		case "/abort":
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		case "/short":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
		}
	}, nil)
	addr := plain(t, e)
	c := client(t, nil, onlyH2C)
	for i, tt := range []struct {
		path   string
		whole  bool
		status int
		why    record.WhyBad
	}{
		{"/before", true, 500, record.OwnError},
		{"/after", false, 200, record.OwnError},
		{"/abort", false, 200, record.BrokenAnswer},
		{"/short", false, 200, record.BrokenAnswer},
	} {
		_, err := tryGet(c, "http://"+addr+tt.path)
		r := e.record(t, i)
		if (err == nil) != tt.whole || r.Answer.Status != tt.status || r.WhyBad != tt.why || r.Answer.Broken == tt.whole {
			t.Errorf("%s: error %v, record %+v %q; want whole %v, %d, %q", tt.path, err, r.Answer, r.WhyBad, tt.whole, tt.status, tt.why)
		}
	}
}

func TestClientThatLeavesIsRecorded(t *testing.T) {
	inside := make(chan struct{}, 1)
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
		}
		inside <- struct{}{}
		<-r.Context().Done()
	}, nil)
	addr := plain(t, e)
	for i, path := range []string{"/", "/half"} {
		r := newRaw(t, addr)
		id := r.send(true, with(":path: "+path)...)
		<-inside
		if i == 0 {
			_ = r.fr.WriteRSTStream(id, http2.ErrCodeCancel)
		} else {
			_ = r.c.Close()
		}
		rec := e.record(t, i)
		if want := []int{0, 200}[i]; rec.WhyBad != record.ClientGone || rec.Answer.Status != want || rec.Answer.Broken != (want != 0) {
			t.Errorf("%s: %q, %+v; want the client gone with status %d", path, rec.WhyBad, rec.Answer, want)
		}
	}
}

func TestBodyThatStopsIsGivenUp(t *testing.T) {
	got := make(chan error, 1)
	onVirtualTime(t, selvage.Deadlines{Body: selvage.Duration(time.Minute)}, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		got <- err
		w.WriteHeader(http.StatusRequestTimeout)
	}, func(t *testing.T, e *edge, dial func() net.Conn) {
		r := rawOn(t, dial())
		id := r.send(false, with(":method: POST")...)
		for range 4 { // slow, but it goes on
			_ = r.fr.WriteData(id, false, []byte("x"))
			time.Sleep(59 * time.Second)
		}
		if s := r.answer(id); s != "408" {
			t.Errorf("answer %s, want the handler's", s)
		}
		if err := <-got; err == nil {
			t.Error("the body ended without an error")
		}
		if rec := e.record(t, 0); rec.LimitHit != "deadline_body" || rec.Request.BodyBytes != 4 || rec.Timing.End != 4*time.Minute-3*time.Second {
			t.Errorf("limit %q after %d bytes and %v, want deadline_body after 4 and a minute more", rec.LimitHit, rec.Request.BodyBytes, rec.Timing.End)
		}
	})
}

func TestClientThatTakesNothingIsCut(t *testing.T) {
	for _, size := range []int{1 << 10, 1 << 20} { // what net/http holds back, and what the handler waits for
		got := make(chan error, 1)
		onVirtualTime(t, selvage.Deadlines{Write: selvage.Duration(time.Minute)}, func(w http.ResponseWriter, r *http.Request) {
			_, err := w.Write(make([]byte, size))
			got <- err
		}, func(t *testing.T, e *edge, dial func() net.Conn) {
			r := rawOn(t, dial(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			id := r.send(true, head...)
			if s := r.answer(id); s != "200" {
				t.Fatalf("answer %s", s)
			}
			if s := r.end(id); s != "reset INTERNAL_ERROR" {
				t.Errorf("%d bytes: the stream ended with %q, want a reset", size, s)
			}
			if err := <-got; (err != nil) != (size > 4096) {
				t.Errorf("%d bytes: the handler's write ended with %v", size, err)
			}
			rec := e.record(t, 0)
			if size > 4096 && (rec.LimitHit != "deadline_write" || rec.WhyBad != record.ClientGone || !rec.Answer.Broken) {
				t.Errorf("limit %q, %q, %+v; want deadline_write", rec.LimitHit, rec.WhyBad, rec.Answer)
			}
		})
	}
}

func TestRequestThatTakesTooLongInAllIsEnded(t *testing.T) {
	for _, path := range []string{"/silent", "/half"} {
		cause := make(chan error, 1)
		onVirtualTime(t, selvage.Deadlines{Total: selvage.Duration(time.Minute)}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/half" {
				_, _ = io.WriteString(w, "half")
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
			cause <- context.Cause(r.Context())
			panic(http.ErrAbortHandler)
		}, func(t *testing.T, e *edge, dial func() net.Conn) {
			r := rawOn(t, dial())
			id := r.send(true, with(":path: "+path)...)
			want := "503"
			if path == "/half" {
				want = "200"
			}
			if s := r.answer(id); s != want {
				t.Errorf("%s: %s, want %s", path, s, want)
			}
			if path == "/half" {
				if s := r.end(id); s == "end" {
					t.Errorf("%s: the answer looks whole", path)
				}
			}
			if err := <-cause; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: the context ended with %v", path, err)
			}
			if rec := e.record(t, 0); rec.WhyBad != record.DeadlineTotal || rec.LimitHit != "deadline_total" || fmt.Sprint(rec.Answer.Status) != want || rec.Timing.End != time.Minute {
				t.Errorf("%s: record %q %q %d after %v", path, rec.WhyBad, rec.LimitHit, rec.Answer.Status, rec.Timing.End)
			}
		})
	}
}

func TestIdleHTTP2ConnectionIsClosed(t *testing.T) {
	onVirtualTime(t, selvage.Deadlines{Idle: selvage.Duration(time.Minute)}, hello, func(t *testing.T, _ *edge, dial func() net.Conn) {
		r := rawOn(t, dial())
		if s := r.answer(r.send(true, head...)); s != "200" {
			t.Fatalf("answer %s", s)
		}
		begin := time.Now()
		if s := r.answer(99); s != "goaway NO_ERROR" || time.Since(begin) != time.Minute {
			t.Errorf("%s after %v, want a graceful end after a minute", s, time.Since(begin))
		}
	})
}

// A flood of requests that are reset at once must not run more handlers than
// streams are allowed (CVE-2023-44487).
func TestRapidResetDoesNotMultiplyHandlers(t *testing.T) {
	leave := make(chan struct{})
	inside := make(chan struct{}, 10_000)
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		<-leave
	}, func(g *Group) { g.Limits.Streams = 10 })
	r := newRaw(t, plain(t, e))
	drained := make(chan struct{})
	go func() { // ends when the connection is closed; waited for below
		defer close(drained)
		_, _ = io.Copy(io.Discard, r.c)
	}()
	for range 200 {
		id := r.next
		r.next += 2
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		for _, f := range head {
			name, value, _ := strings.Cut(f[1:], ": ")
			_ = enc.WriteField(hpack.HeaderField{Name: f[:1] + name, Value: value})
		}
		if r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}) != nil {
			break
		}
		if r.fr.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break
		}
	}
	eventually(t, "the connection to be closed", func() bool {
		select {
		case <-drained:
			return true
		default:
			return false
		}
	})
	if n := len(inside); n > 10 {
		t.Errorf("%d handlers ran at once, want 10 at the most", n)
	}
	if e.count(e.hits, "streams") == 0 {
		t.Error("the limit was not counted")
	}
	close(leave)
}

func BenchmarkHTTP2(b *testing.B) {
	g := &Group{}
	g.prepare()
	g.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") })
	w := &nothing{header: http.Header{}}
	r, err := http.NewRequest("GET", "/", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	r.RequestURI, r.Host = "/", "a.example"
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		g.h2.ServeHTTP(w, r)
	}
}

// nothing is a ResponseWriter that takes everything.
type nothing struct{ header http.Header }

func (n *nothing) Header() http.Header            { return n.header }
func (*nothing) WriteHeader(int)                  {}
func (*nothing) Write(p []byte) (int, error)      { return len(p), nil }
func (*nothing) SetWriteDeadline(time.Time) error { return nil }
