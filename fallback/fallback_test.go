package fallback

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

var sorry = []selvage.Rung{{Stale: true}, {Default: &selvage.DefaultAnswer{
	Status: 503, File: "sorry.html", Content: []byte("<p>sorry"), Headers: map[string]string{"retry-after": "30"},
}}}

// ask sends a request through a ladder in front of next.
func ask(t *testing.T, rungs []selvage.Rung, method string, next roundTrip) (*http.Response, string, *record.Record, error) {
	t.Helper()
	rec := new(record.Record)
	req, err := http.NewRequestWithContext(record.NewContext(t.Context(), rec), method, "http://shop.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := New(rungs, next).RoundTrip(req)
	if err != nil {
		return nil, "", rec, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body), rec, nil
}

func TestDefaultAnswersEveryFailure(t *testing.T) {
	for _, status := range []int{0, 500, 502, 503, 504} {
		failed := &closing{Reader: strings.NewReader("stack trace")}
		res, body, rec, err := ask(t, sorry, "GET", func(*http.Request) (*http.Response, error) {
			if status == 0 {
				return nil, errors.New("origin is down")
			}
			return &http.Response{StatusCode: status, Header: http.Header{"X-Origin": {"1"}}, Body: failed}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 503 || body != "<p>sorry" || res.ContentLength != 8 {
			t.Errorf("for %d: got %d %q of length %d", status, res.StatusCode, body, res.ContentLength)
		}
		want := http.Header{
			"Retry-After": {"30"}, "Cache-Control": {"no-store"}, "Content-Length": {"8"}, "Content-Type": {"text/html; charset=utf-8"},
		}
		for name := range want {
			if res.Header.Get(name) != want.Get(name) {
				t.Errorf("for %d: %s is %q, want %q", status, name, res.Header.Get(name), want.Get(name))
			}
		}
		if len(res.Header) != len(want) {
			t.Errorf("for %d: header %v, want %v", status, res.Header, want)
		}
		if rec.Origin.Fallback != "default" {
			t.Errorf("for %d: the record names the rung %q", status, rec.Origin.Fallback)
		}
		if status != 0 && !failed.closed {
			t.Errorf("for %d: the failed answer's body is open", status)
		}
	}
}

func TestOtherAnswersPass(t *testing.T) {
	for _, status := range []int{200, 304, 404, 429, 501, 505, 599} {
		want := &http.Response{StatusCode: status, Body: http.NoBody}
		res, _, rec, err := ask(t, sorry, "GET", func(*http.Request) (*http.Response, error) { return want, nil })
		if err != nil || res != want || rec.Origin.Fallback != "" {
			t.Errorf("%d: got %v, %v, rung %q", status, res, err, rec.Origin.Fallback)
		}
	}
}

func TestHeadGetsTheDefaultWithoutItsBody(t *testing.T) {
	res, body, _, err := ask(t, sorry, "HEAD", func(*http.Request) (*http.Response, error) { return nil, errors.New("down") })
	if err != nil || body != "" || res.Header.Get("Content-Length") != "8" || res.StatusCode != 503 {
		t.Errorf("got %v %q, %v", res, body, err)
	}
}

func TestClientThatLeftIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://shop.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(sorry, roundTrip(func(*http.Request) (*http.Response, error) {
		cancel()
		return nil, context.Canceled
	})).RoundTrip(req)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestOnlyIfCachedIsNoFailure(t *testing.T) {
	res, _, rec, err := ask(t, sorry, "GET", func(req *http.Request) (*http.Response, error) {
		record.From(req.Context()).Cache.Detail = "only-if-cached"
		return &http.Response{StatusCode: 504, Body: http.NoBody}, nil
	})
	if err != nil || res.StatusCode != 504 || rec.Origin.Fallback != "" {
		t.Errorf("got %v, %v, rung %q", res, err, rec.Origin.Fallback)
	}
}

func TestDefaultAnswerIsGivenANewHeaderEachTime(t *testing.T) {
	next := New(sorry, roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("down") }))
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://shop.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := next.RoundTrip(req)
		if err != nil || res.Header.Get("Retry-After") != "30" {
			t.Fatalf("got %v, %v", res, err)
		}
		res.Header["Retry-After"][0] = "spoilt"
	}
}

func TestDefaultAnswersFields(t *testing.T) {
	tests := []struct {
		d                         selvage.DefaultAnswer
		status                    int
		body, ctype, length, ctrl string
	}{
		{selvage.DefaultAnswer{}, 503, "", "", "0", "no-store"},
		{selvage.DefaultAnswer{Status: 200, Body: "back soon"}, 200, "back soon", "text/plain; charset=utf-8", "9", "no-store"},
		{selvage.DefaultAnswer{Status: 204, Body: "x"}, 204, "", "", "", "no-store"},
		{selvage.DefaultAnswer{Body: "{}", Headers: map[string]string{"content-type": "application/json", "cache-control": "max-age=1"}},
			503, "{}", "application/json", "2", "max-age=1"},
		{selvage.DefaultAnswer{File: "a/b.css", Content: []byte("p{}"), Body: "ignored"}, 503, "p{}", "text/css; charset=utf-8", "3", "no-store"},
		{selvage.DefaultAnswer{File: "noname", Content: []byte("<html>")}, 503, "<html>", "text/html; charset=utf-8", "6", "no-store"},
	}
	for _, tt := range tests {
		res, body, _, err := ask(t, []selvage.Rung{{Default: &tt.d}}, "GET",
			func(*http.Request) (*http.Response, error) { return nil, errors.New("down") })
		if err != nil {
			t.Fatal(err)
		}
		h := res.Header
		if res.StatusCode != tt.status || body != tt.body || h.Get("Content-Type") != tt.ctype ||
			h.Get("Content-Length") != tt.length || h.Get("Cache-Control") != tt.ctrl {
			t.Errorf("%+v: got %d %q %v", tt.d, res.StatusCode, body, h)
		}
	}
}

func TestLadderWithoutAnAnswerOfItsOwnIsNotThere(t *testing.T) {
	next := &http.Transport{}
	for _, rungs := range [][]selvage.Rung{nil, {{Stale: true}}} {
		if got := New(rungs, next); got != http.RoundTripper(next) {
			t.Errorf("New(%v) = %v, want what it stands in front of", rungs, got)
		}
	}
}

func TestClientsOwnFailureHasNoDefault(t *testing.T) {
	half := &selvage.ProxyError{Type: selvage.RequestError, Err: io.ErrUnexpectedEOF}
	_, _, rec, err := ask(t, sorry, "POST", func(*http.Request) (*http.Response, error) { return nil, half })
	if !errors.Is(err, half) || rec.Origin.Fallback != "" {
		t.Errorf("got %v, fallback %q; want the error", err, rec.Origin.Fallback)
	}
}
