package node

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/selvage-edge/selvage/record"
)

// raw asks for a path on a connection of its own, and returns what was sent.
func (b *bed) raw(path string, fields ...string) []byte {
	b.t.Helper()
	text, ends := "GET "+path+" HTTP/1.1\r\nHost: shop.example\r\n", false
	for _, f := range fields {
		if f != "" {
			text += f + "\r\n"
		}
		ends = ends || strings.HasPrefix(f, "Connection: ")
	}
	if !ends {
		text += "Connection: close\r\n"
	}
	return b.sent(text + "\r\n")
}

// sent sends a request as it is, whose answer ends the connection, and returns that.
func (b *bed) sent(text string) []byte {
	b.t.Helper()
	c, err := b.network.Dial(b.t.Context(), "tcp", "203.0.113.1:80")
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		b.t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

// recorded asks for a path as [bed.raw] does, of a server that takes headers only.
func (b *bed) recorded(path string, fields ...string) *http.Response {
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.Host, req.Body = "shop.example", http.NoBody
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	rec := &record.Record{Start: time.Now()}
	rec.Client.Peer = netip.MustParseAddrPort("198.51.100.1:1000")
	w := httptest.NewRecorder()
	b.node.ServeHTTP(w, req.WithContext(record.NewContext(req.Context(), rec)))
	return w.Result()
}

// Each stored answer is asked for twice: of our own HTTP/1.1, which may write it as it
// lies, and of a server that cannot. X-Z comes last in a header that was sorted on
// its way, and not last in one that was sent as it lay.
func TestAHitAsItLiesIsTheSameAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		fields, asks string
		as, hit      bool
	}{
		"page":                          {"Content-Type: text/html\nEtag: \"a\"\nX-Own: 1", "", true, true},
		"several lines of a field":      {"Link: <a>\nLink: <b>\nSet-Cookie-Like: 1", "Accept: */*", true, true},
		"selected":                      {"Vary: Accept-Language", "Accept-Language: de", true, true},
		"selected by what we add":       {"Vary: X-Forwarded-Proto", "", false, true},
		"selected by the trace":         {"Vary: Traceparent", "", false, false},
		"a field that goes not across":  {"Vary: X-Real-Ip", "X-Real-Ip: 1", false, true},
		"a name with an underscore":     {"Vary: X_a", "X_a: 1", false, true},
		"a field of the connection":     {"Vary: Te", "Te: trailers\r\nConnection: te, close", false, true},
		"a field that Connection names": {"Vary: X-A", "X-A: 1\r\nConnection: close, x-a", false, true},
		"a field of connections":        {"Vary: Keep-Alive", "Keep-Alive: 5", false, true},
		"a cache beyond us":             {"Cache-Status: there; hit", "", false, true},
		"a proxy beyond us":             {"Via: 1.0 there", "", false, true},
		"an Age":                        {"Age: 3", "", true, true}, // ours stands for it
		"part":                          {"Content-Type: text/html", "Range: bytes=1-2", false, true},
		"condition":                     {"Etag: \"a\"", "If-None-Match: \"a\"", false, true},
		"other path meant":              {"Etag: \"a\"", "X-Http-Method-Override: DELETE", false, false},
		"not wanted as fresh":           {"Etag: \"a\"", "Cache-Control: min-fresh=1000", false, false},
		"longer body":                   {"X-Body: 600", "", true, true},
		"empty body":                    {"X-Body: 0", "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, oldService, func(w http.ResponseWriter, r *http.Request) {
				n := 4
				for line := range strings.SplitSeq(tc.fields, "\n") {
					name, value, _ := strings.Cut(line, ": ")
					w.Header().Add(name, value)
					_, _ = fmt.Sscanf(line, "X-Body: %d", &n)
				}
				w.Header().Set("X-Z", "1")
				w.Header().Set("Content-Length", fmt.Sprint(n))
				_, _ = io.WriteString(w, strings.Repeat("x", n))
			}, func(b *bed) {
				asks := strings.Split(tc.asks, "\r\n")
				if tc.asks == "" {
					asks = nil
				}
				b.raw("/p/1", asks...)
				if strings.HasPrefix(tc.asks, "Range") {
					b.raw("/p/1")
				}
				synctest.Wait()
				time.Sleep(2 * time.Second)
				got := b.raw("/p/1", asks...)
				synctest.Wait()
				want := b.recorded("/p/1", asks...)
				head, _, _ := bytes.Cut(got, []byte("\r\n\r\n"))
				if hit := bytes.Contains(head, []byte("Cache-Status: selvage; hit")) || bytes.Contains(head, []byte("selvage; hit; ttl=")); hit != tc.hit {
					t.Errorf("a hit: %v, want %v: %s", hit, tc.hit, head)
				}
				if as := bytes.Index(head, []byte("\r\nVia: ")) > bytes.Index(head, []byte("\r\nX-Z: ")); as != tc.as {
					t.Errorf("written as it lies: %v, want %v: %s", as, tc.as, head)
				}
				res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(got)), nil)
				if err != nil {
					t.Fatal(err)
				}
				res.Header.Del("Connection")
				if diff := cmp.Diff(want.Header, res.Header); diff != "" || res.StatusCode != want.StatusCode {
					t.Errorf("%d, want %d; header (-want +got)\n%s", res.StatusCode, want.StatusCode, diff)
				}
				gotBody, _ := io.ReadAll(res.Body)
				wantBody, _ := io.ReadAll(want.Body)
				if !bytes.Equal(gotBody, wantBody) {
					t.Errorf("body of %d bytes, want %d", len(gotBody), len(wantBody))
				}
			})
		})
	}
}

// What the route or the request wants changed is changed.
func TestNothingThatIsToBeChangedIsSentAsItLies(t *testing.T) {
	for name, tc := range map[string]struct{ route, ask, want string }{
		"nothing":               {"", "", "200 OK"},
		"headers of the route":  {", headers: {response: {set: {X-Own: \"1\"}}}", "", "X-Own: 1"},
		"cross-origin requests": {", cors: {origins: [\"https://a.example\"]}", "Origin: https://a.example", "Access-Control-Allow-Origin: https://a.example"},
		"compression":           {", compress: {min_size: 1B, types: [text/html]}", "Accept-Encoding: gzip", "Content-Encoding: gzip"},
		"access":                {", access: {deny: [0.0.0.0/0]}", "", "403 Forbidden"},
		"field in the key":      {", rewrite: {path: /q}", "", "X-Path: /q"},
	} {
		t.Run(name, func(t *testing.T) {
			service := strings.Replace(oldService, "cache: {ttl: 60s}", "cache: {ttl: 60s}"+tc.route, 1)
			serve(t, service, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				w.Header().Set("X-Path", r.URL.Path)
				w.Header().Set("X-Z", "1")
				_, _ = io.WriteString(w, strings.Repeat("x", 500)) // a larger one would not be packed in so small a store
			}, func(b *bed) {
				for i := range 3 {
					got := b.raw("/p/1", tc.ask, "Accept: */*")
					if !bytes.Contains(got, []byte(tc.want)) {
						t.Errorf("got %.400s, want %s", got, tc.want)
					}
					if as := bytes.Index(got, []byte("\r\nVia: ")) > bytes.Index(got, []byte("\r\nX-Z: ")); as && tc.route != "" || !as && tc.route == "" && i > 0 {
						t.Errorf("written as it lies: %v: %.400s", as, got)
					}
					synctest.Wait()
				}
			})
		})
	}
}

// What Connection names does not go across: nor does it select what others have stored by it.
func TestAFieldOfOneConnectionSelectsNothingThatLies(t *testing.T) {
	serve(t, oldService, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "X-A")
		_, _ = io.WriteString(w, "for "+r.Header.Get("X-A")+".")
	}, func(b *bed) {
		for _, tt := range []struct {
			fields []string
			want   string
		}{
			{[]string{"X-A: 1"}, "for 1."}, {nil, "for ."},
			{[]string{"X-A: 1", "Connection: close, x-a"}, "for ."}, {[]string{"X-A: 1"}, "for 1."},
		} {
			if got := b.raw("/p/1", tt.fields...); !bytes.HasSuffix(got, []byte(tt.want)) {
				t.Errorf("with %q: got %s, want %s", tt.fields, got, tt.want)
			}
			synctest.Wait()
		}
	})
}

// A hit as it lies is looked up without the fields that are added on the way across, so
// all of them are named: what varies by one is not for everybody.
func TestAllFieldsThatAreAddedAcrossAreNamed(t *testing.T) {
	var got http.Header
	serve(t, oldService, func(_ http.ResponseWriter, r *http.Request) { got = r.Header }, func(b *bed) {
		cert := &x509.Certificate{Raw: []byte("certificate")}
		req := httptest.NewRequest(http.MethodGet, "/p/1", nil)
		req.Host, req.Body = "shop.example", http.NoBody
		req.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
		rec := &record.Record{Start: time.Now()}
		rec.Client.Peer, rec.Client.TLS = netip.MustParseAddrPort("198.51.100.1:1000"), tls.VersionTLS13
		b.node.ServeHTTP(httptest.NewRecorder(), req.WithContext(record.NewContext(req.Context(), rec)))
		if len(got[clientCert]) == 0 {
			t.Errorf("the origin is told of no certificate: %v", got)
		}
		for name := range got {
			if !slices.Contains(addedAcross, name) {
				t.Errorf("%s is added and not named", name)
			}
		}
	})
}

// What is stored for a GET answers nothing else.
func TestOnlyAPlainGetIsAnsweredAsItLies(t *testing.T) {
	n := 0
	serve(t, oldService, func(w http.ResponseWriter, _ *http.Request) {
		n++
		fmt.Fprintf(w, "answer %d", n)
	}, func(b *bed) {
		for _, request := range []string{
			"GET /p/1 HTTP/1.1\r\n",
			"GET /p/1? HTTP/1.1\r\n",
			"GET /p/1?a HTTP/1.1\r\n",
			"GET /p/1 HTTP/1.1\r\nContent-Length: 1\r\n",
			"POST /p/1 HTTP/1.1\r\nContent-Length: 0\r\n", // the last one: it ends what is stored
		} {
			body := ""
			if strings.Contains(request, "Content-Length: 1\r\n") {
				body = "x"
			}
			before := n
			got := b.sent(request + "Host: shop.example\r\nConnection: close\r\n\r\n" + body)
			if n != before+1 || !bytes.HasSuffix(got, fmt.Appendf(nil, "answer %d", n)) {
				t.Errorf("%q: the origin was asked %d times, want once: %s", request, n-before, got)
			}
			synctest.Wait()
		}
	})
}

// A purge and the end of freshness count for hits as they lie, too.
func TestAHitAsItLiesEndsWhenOthersDo(t *testing.T) {
	n := 0
	serve(t, oldService, func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.Header().Set("Surrogate-Key", "all")
		fmt.Fprintf(w, "answer %d", n)
	}, func(b *bed) {
		ask := func(want string) {
			t.Helper()
			for range 2 {
				if got := b.get("/p/1"); got != "200 answer "+want {
					t.Errorf("got %q, want answer %s", got, want)
				}
				synctest.Wait()
			}
		}
		ask("1")
		if _, err := b.node.purgeTag(b.t.Context(), "test", "all", false, "test"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ask("2")
		time.Sleep(61 * time.Second)
		ask("3")
	})
}

// TestAHitAllocatesNothingBeyondTheServersOwn compares a hit with a page that a
// handler of the same server has: its header takes more than all of the node does.
func TestAHitAllocatesNothingBeyondTheServersOwn(t *testing.T) {
	if raceEnabled {
		t.Skip("with the race detector a pool drops what it is given, by chance")
	}
	withShop(t, func(n *Node) {
		stored(t, n, "/page")
		page := answerCost(t, cannedPage(), "/page")
		if hit := answerCost(t, http.HandlerFunc(n.serveCounted), "/page"); hit > page {
			t.Errorf("a hit takes %v allocations, the page of a handler %v", hit, page)
		}
	})
}
