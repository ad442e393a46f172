package listen

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/http1"
)

// Whatever is let through of HTTP/2 must be a request that our own HTTP/1.1
// server reads in the same way, since an origin gets it in HTTP/1.1.
func FuzzExaminedRequestsAreWholeInHTTP1(f *testing.F) {
	for _, s := range [][4]string{
		{"GET", "/", "a.example", ""}, {"POST", "/a%20b?c=%zz", "[2001:db8::1]:8080", "5"}, {"OPTIONS", "*", "a", "0"},
		{"GET /", "/", "a", ""}, {"GET", "/ HTTP/1.1\r\nX: y", "a", ""}, {"PUT", "//evil/", "a:80", "007"}, {"GET", "/#", "A_b-c.", "1"},
		{"TRACE", "/", "a", ""}, {"CONNECT", "a:1", "a:1", ""}, {"GET", "http://b/", "a..b", "+1"},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	seen := make(chan *http.Request, 1)
	srv := &http1.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen <- r })}
	f.Fuzz(func(t *testing.T, method, target, host, length string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || strings.ContainsAny(length, "\r\n\x00") {
			return // net/http resets such a stream
		}
		r := &http.Request{Method: method, URL: u, RequestURI: target, Host: host, Header: http.Header{}, ContentLength: 0}
		if length != "" {
			r.Header["Content-Length"] = []string{length}
		}
		lim := selvage.Limits{}.OrDefaults()
		if _, no := examine(r, &lim); no != nil {
			return
		}
		ours, theirs := net.Pipe()
		served := make(chan struct{})
		go func() { // waited for below
			defer close(served)
			srv.ServeConn(context.Background(), theirs, http1.ConnInfo{}, nil)
		}()
		head := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
		go func() { _, _ = io.WriteString(ours, head) }() // ends with the pipe
		line, err := bufio.NewReader(ours).ReadString('\n')
		_ = ours.Close()
		<-served
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 200 ") {
			t.Fatalf("%q was let through, and is %q (%v) in HTTP/1.1", head, line, err)
		}
		if got := <-seen; got.Method != method || got.RequestURI != target || got.Host != host {
			t.Fatalf("%q became %s %s at %s", head, got.Method, got.RequestURI, got.Host)
		}
	})
}

func TestAuthorities(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "a.example": true, "a.example.": true, "A_b-c.example:8080": true, "192.0.2.1:1": true, "[::1]": true, "[::1]:65535": true,
		"": false, ".a": false, "a..b": false, ":80": false, "a:": false, "a:0": false, "a:65536": false, "a:123456": false, "a:8o": false,
		"a:+1": false, "[::1": false, "::1": false, "[192.0.2.1]": false, "[::1]x": false, "[fe80::1%eth0]": false, "a@b": false, "a/b": false,
		"a b": false, "é.example": false, "a%2eb": false, strings.Repeat("a", 262): false,
	} {
		if got := isAuthority(s); got != want {
			t.Errorf("isAuthority(%q) = %v, want %v", s, got, want)
		}
	}
}
