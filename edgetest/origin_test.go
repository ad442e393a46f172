package edgetest_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage/edgetest"
)

// inBubble plays f beside a running origin on virtual time.
func inBubble(t *testing.T, o *edgetest.Origin, f func(t *testing.T, o *edgetest.Origin)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Name, o.Network, o.Address = "one", new(edgetest.Network), netip.MustParseAddrPort("10.0.0.1:80")
		if err := o.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- o.Run(ctx) }() // ends below
		f(t, o)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		for _, p := range o.Problems() {
			t.Error(p)
		}
	})
}

func client(o *edgetest.Origin) *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(o.H2)
	p.SetHTTP1(!o.H2)
	return &http.Client{Transport: &http.Transport{DialContext: o.Network.Dial, Protocols: p, DisableCompression: true}}
}

func ask(t *testing.T, c *http.Client, method, body string, fields ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://10.0.0.1/path", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(got)
}

func TestOriginNamesItselfAndCounts(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		inBubble(t, &edgetest.Origin{H2: h2}, func(t *testing.T, o *edgetest.Origin) {
			c := client(o)
			defer c.CloseIdleConnections()
			for _, want := range []string{"one 1", "one 2"} {
				if _, got := ask(t, c, "POST", "hello", "X-Test: a"); got != want {
					t.Errorf("h2 %v: got %q, want %q", h2, got, want)
				}
			}
			seen, _ := o.Last()
			if string(seen.Body) != "hello" || seen.Header.Get("X-Test") != "a" || seen.Target != "/path" || seen.Header.Get("Host") != "10.0.0.1" {
				t.Errorf("h2 %v: the origin saw %+v", h2, seen)
			}
			if o.Requests() != 2 || o.Connections() != 1 {
				t.Errorf("h2 %v: got %d requests on %d connections, want 2 on 1", h2, o.Requests(), o.Connections())
			}
		})
	}
}

func TestOriginAnswersAsItsScriptSays(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		inBubble(t, &edgetest.Origin{H2: h2}, func(t *testing.T, o *edgetest.Origin) {
			for _, err := range []error{
				o.Script("answers 200 standing"),
				o.Script("once answers 503 busy", "wait 3s", "Retry-After: 1"),
				o.Script("at /path answers 404 nowhere"),
				o.Script("once at /path answers 200", "chunk a", "wait 1s", "chunk b", "trailer Sum: 2"),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			c := client(o)
			defer c.CloseIdleConnections()
			begin := time.Now()
			resp, got := ask(t, c, "GET", "")
			if got != "ab" || resp.Trailer.Get("Sum") != "2" || time.Since(begin) != time.Second {
				t.Errorf("h2 %v: got %q, trailer %v after %v", h2, got, resp.Trailer, time.Since(begin))
			}
			if resp, got = ask(t, c, "GET", ""); resp.StatusCode != 404 || got != "nowhere" {
				t.Errorf("h2 %v: got %d %q, want 404 nowhere", h2, resp.StatusCode, got)
			}
			if o.Requests() != 0 {
				t.Errorf("h2 %v: %d requests counted, want none to a path of its own", h2, o.Requests())
			}
		})
	}
}

func TestOriginAnswersNotModified(t *testing.T) {
	inBubble(t, new(edgetest.Origin), func(t *testing.T, o *edgetest.Origin) {
		if err := o.Script("answers 200 hello", `ETag: "v1"`); err != nil {
			t.Fatal(err)
		}
		c := client(o)
		defer c.CloseIdleConnections()
		if resp, got := ask(t, c, "GET", "", `If-None-Match: "v1"`); resp.StatusCode != 304 || got != "" {
			t.Errorf("got %d %q, want 304", resp.StatusCode, got)
		}
		if resp, got := ask(t, c, "GET", "", `If-None-Match: "v2"`); resp.StatusCode != 200 || got != "hello" {
			t.Errorf("got %d %q, want 200 hello", resp.StatusCode, got)
		}
	})
}

func TestOriginCanTalkGarbageAndCut(t *testing.T) {
	inBubble(t, new(edgetest.Origin), func(t *testing.T, o *edgetest.Origin) {
		for script, want := range map[string]string{
			"send one\\r\\n\nreset":     "one\r\n read tcp",
			"send HTTP/9.9\\x00\nclose": "HTTP/9.9\x00 <nil>",
		} {
			if err := o.Script("does", strings.Split(script, "\n")...); err != nil {
				t.Fatal(err)
			}
			c, err := o.Network.Dial(t.Context(), "tcp", "10.0.0.1:80")
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			got, err := io.ReadAll(c)
			full := string(got) + " <nil>"
			if err != nil {
				full = string(got) + " " + err.Error()
			}
			if !strings.HasPrefix(full, want) {
				t.Errorf("got %q, want %q", full, want)
			}
			c.Close()
		}
	})
}

func TestOriginKnowsWhenTheClientLeft(t *testing.T) {
	inBubble(t, new(edgetest.Origin), func(t *testing.T, o *edgetest.Origin) {
		if err := o.Script("does", "hang"); err != nil {
			t.Fatal(err)
		}
		c, err := o.Network.Dial(t.Context(), "tcp", "10.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		synctest.Wait()
		if seen, _ := o.Last(); seen.Gone {
			t.Error("gone before the client left")
		}
		c.Close()
		synctest.Wait()
		if seen, _ := o.Last(); !seen.Gone {
			t.Error("not gone after the client left")
		}
	})
}

func TestOriginEchoesUpgrades(t *testing.T) {
	inBubble(t, new(edgetest.Origin), func(t *testing.T, o *edgetest.Origin) {
		if err := o.Script("echoes"); err != nil {
			t.Fatal(err)
		}
		c, err := o.Network.Dial(t.Context(), "tcp", "10.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nearly")
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "x" {
			t.Fatalf("got %v, %v; want 101", resp, err)
		}
		io.WriteString(c, " late")
		c.(*edgetest.Conn).CloseWrite()
		if got, err := io.ReadAll(br); string(got) != "early late" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestOriginDownAndUp(t *testing.T) {
	inBubble(t, new(edgetest.Origin), func(t *testing.T, o *edgetest.Origin) {
		c, err := o.Network.Dial(t.Context(), "tcp", "10.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		o.Down()
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("got %v, want a reset", err)
		}
		if _, err := o.Network.Dial(t.Context(), "tcp", "10.0.0.1:80"); err == nil {
			t.Error("a dial succeeds while it is down")
		}
		o.Up()
		var up net.Conn
		if up, err = o.Network.Dial(t.Context(), "tcp", "10.0.0.1:80"); err != nil {
			t.Fatal(err)
		}
		up.Close()
	})
}

func TestScriptErrorsHint(t *testing.T) {
	var o edgetest.Origin
	for line, want := range map[string]string{
		"answer 200":      `did you mean "answers"?`,
		"answers two":     "is not a status",
		"3 answers 200":   "write 3 times",
		`answers 200 a\q`: "is not an escape",
		"does it":         "stands alone",
	} {
		if err := o.Script(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
	if err := o.Script("does", "sned x"); err == nil || !strings.Contains(err.Error(), `script:2: "sned" is not a step: did you mean "send"?`) {
		t.Errorf("got %v", err)
	}
}
