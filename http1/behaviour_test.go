package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// onEveryDriver runs f with a client of a server with handler h, on real time.
func onEveryDriver(t *testing.T, h http.HandlerFunc, f func(t *testing.T, b *bubbled)) {
	t.Helper()
	for _, d := range serverDrivers {
		t.Run(d.name, func(t *testing.T) {
			b := &bubbled{server: &Server{Handler: h, Log: slog.New(slog.DiscardHandler)}}
			b.server.Done, b.server.OnLimit = b.recs.done, b.limits.hit
			b.client, b.wait = connectTo(t, d, b.server)
			_ = b.client.SetDeadline(time.Now().Add(patience))
			b.r = bufio.NewReader(b.client)
			f(t, b)
			b.client.Close()
			b.wait()
		})
	}
}

const plainGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func TestContinueIsSentWhenTheBodyIsFirstRead(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/early" {
			w.WriteHeader(403)
			return
		}
		hello(w, r)
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n")
		if r, _ := b.answer(t); r.StatusCode != 100 {
			t.Fatalf("got %d, want 100", r.StatusCode)
		}
		b.send(t, "abc")
		if _, body := b.answer(t); body != "POST x/a abc" {
			t.Fatalf("got %q", body)
		}
		b.send(t, "POST /early HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
		r, _ := b.answer(t)
		if r.StatusCode != 403 || !r.Close {
			t.Errorf("got %d, close %v; want 403 and a closed connection", r.StatusCode, r.Close)
		}
	})
}

func TestExpectationOfHTTP10IsIgnored(t *testing.T) {
	got := talk(t, serverDrivers[0], &Server{Handler: http.HandlerFunc(hello)},
		"POST /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
	if !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.HasSuffix(got, "POST /a abc") {
		t.Errorf("got %q", got)
	}
}

func TestInterimAnswersComeAtOnce(t *testing.T) {
	goOn := make(chan bool)
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(103)
		<-goOn
		w.Header().Del("Link")
		w.WriteHeader(102)
		w.WriteHeader(404)
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, plainGet)
		if r, _ := b.answer(t); r.StatusCode != 103 || r.Header.Get("Link") == "" || r.Header.Get("Content-Length") != "" {
			t.Errorf("got %d %v, want 103", r.StatusCode, r.Header)
		}
		goOn <- true
		for _, want := range []int{102, 404} {
			if r, _ := b.answer(t); r.StatusCode != want || r.Header.Get("Link") != "" {
				t.Errorf("got %d %v, want %d", r.StatusCode, r.Header, want)
			}
		}
		b.client.Close()
		b.wait()
		if r := b.recs.all(); len(r) != 1 || r[0].Answer.Status != 404 {
			t.Errorf("records are %+v", r)
		}
	})
}

func TestInterimAnswersAreNotSentToHTTP10(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(103)
		w.WriteHeader(204)
	})
	if got := talk(t, serverDrivers[0], &Server{Handler: h}, "GET / HTTP/1.0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 204 ") {
		t.Errorf("got %q", got)
	}
}

func TestHTTP10ClientsGetAnswersThatTheyCanRead(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one ")
		if r.URL.Path == "/stream" {
			w.(http.Flusher).Flush()
		}
		_, _ = io.WriteString(w, "two")
	})
	for _, c := range []struct{ in, want string }{
		{"GET /stream HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\none two"},
		{"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\none two"},
		{"GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\none two"},
		{
			"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: keep-alive\r\n\r\none two" +
				"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\none two",
		},
		{"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\nGET /", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\none two"},
	} {
		if got := withoutDate(talk(t, serverDrivers[1], &Server{Handler: h}, c.in)); got != c.want {
			t.Errorf("%q is answered %q, want %q", c.in, got, c.want)
		}
	}
}

func TestStreamArrivesAtEveryFlush(t *testing.T) {
	next := make(chan string)
	h := func(w http.ResponseWriter, r *http.Request) {
		for s := <-next; s != ""; s = <-next {
			_, _ = io.WriteString(w, s)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, plainGet)
		next <- "data: 1\n\n"
		r, err := http.ReadResponse(b.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		n, _ := r.Body.Read(buf)
		if got := string(buf[:n]); got != "data: 1\n\n" {
			t.Errorf("got %q", got)
		}
		next <- "data: 2\n\n"
		n, _ = r.Body.Read(buf)
		if got := string(buf[:n]); got != "data: 2\n\n" {
			t.Errorf("got %q", got)
		}
		next <- ""
		if rest, err := io.ReadAll(r.Body); err != nil || len(rest) > 0 {
			t.Errorf("rest %q, error %v", rest, err)
		}
	})
}

func TestTrailersGoBothWays(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		if _, announced := r.Trailer["X-Sum"]; !announced || r.Header.Get("Trailer") != "" {
			t.Errorf("announced trailers are %v, header %v", r.Trailer, r.Header)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum, Content-Length, Host")
		w.Header().Set(http.TrailerPrefix+"Content-Type", "no")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum")+"!")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n")
		r, body := b.answer(t)
		if body != "body" || r.Trailer.Get("X-Sum") != "7!" || r.Trailer.Get("Grpc-Status") != "0" || len(r.Trailer) != 2 {
			t.Errorf("got %q with trailers %v", body, r.Trailer)
		}
	})
}

func TestTrailersOnlyAfterAnEmptyBody(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "5")
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, plainGet)
		if r, _ := b.answer(t); r.Trailer.Get("Grpc-Status") != "5" {
			t.Errorf("trailers are %v", r.Trailer)
		}
	})
}

func TestHeaderCannotSplitAnAnswer(t *testing.T) {
	for _, bad := range []http.Header{
		{"X-A": {"b\r\nSet-Cookie: c"}}, {"X-A": {"b\nc"}}, {"X-A": {"b\x00"}}, {"X-A\r\nX-B": {"c"}}, {"X A": {"b"}}, {"": {"b"}},
	} {
		var recs records
		s := &Server{Done: recs.done, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			maps.Copy(w.Header(), bad)
			_, err := io.WriteString(w, "body")
			if err == nil {
				t.Errorf("%v was written", bad)
			}
		})}
		got := talk(t, serverDrivers[1], s, plainGet)
		if !strings.HasPrefix(got, "HTTP/1.1 500 ") || strings.Contains(got, "Set-Cookie") || strings.Contains(got, "X-A") {
			t.Errorf("%v is answered %q", bad, got)
		}
		if r := recs.all(); len(r) != 1 || r[0].WhyBad != record.OwnError || r[0].Answer.Status != 500 {
			t.Errorf("%v: records are %+v", bad, r)
		}
	}
}

func TestLengthIsKeptOrTheConnectionBreaks(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		if r.URL.Path == "/short" {
			_, _ = io.WriteString(w, "1234")
			return
		}
		n, err := io.WriteString(w, "123456")
		if n != 0 || !errors.Is(err, http.ErrContentLength) {
			t.Errorf("wrote %d, %v", n, err)
		}
		_, _ = io.WriteString(w, "12345")
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, "GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, body := b.answer(t); body != "12345" {
			t.Errorf("got %q", body)
		}
		b.send(t, "GET /short HTTP/1.1\r\nHost: x\r\n\r\n")
		r, err := http.ReadResponse(b.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %q, %v, want an early end", body, err)
		}
		b.client.Close()
		b.wait()
		if r := b.recs.all(); len(r) != 2 || !r[1].Answer.Broken || r[1].WhyBad != record.BrokenAnswer {
			t.Errorf("records are %+v", r)
		}
	})
}

func TestAnswersWithoutABodyHaveNone(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		status := map[string]int{"/204": 204, "/304": 304, "/200": 200}[r.URL.Path]
		w.Header().Set("Content-Length", "4")
		w.WriteHeader(status)
		n, err := io.WriteString(w, "body")
		if status != 200 && (n != 0 || !errors.Is(err, http.ErrBodyNotAllowed)) {
			t.Errorf("%d: wrote %d, %v", status, n, err)
		}
	}
	got := withoutDate(talk(t, serverDrivers[1], &Server{Handler: http.HandlerFunc(h)},
		"GET /204 HTTP/1.1\r\nHost: x\r\n\r\nGET /304 HTTP/1.1\r\nHost: x\r\n\r\nHEAD /200 HTTP/1.1\r\nHost: x\r\n\r\n"+
			"GET /200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	want := "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n" +
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestPanicsAreAnsweredAndLoggedOnce(t *testing.T) {
	for _, d := range serverDrivers {
		var log bytes.Buffer
		var recs records
		s := &Server{Done: recs.done, Log: slog.New(slog.NewTextHandler(&log, nil)),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "half")
				if r.URL.Path == "/late" {
					w.(http.Flusher).Flush()
				}
				if r.URL.Path == "/abort" {
					panic(http.ErrAbortHandler)
				}
				panic("the reason")
			})}
		early := talk(t, d, s, plainGet+smuggled)
		late := talk(t, d, s, "GET /late HTTP/1.1\r\nHost: x\r\n\r\n"+smuggled)
		aborted := talk(t, d, s, "GET /abort HTTP/1.1\r\nHost: x\r\n\r\n"+smuggled)
		if !strings.HasPrefix(early, "HTTP/1.1 500 ") || strings.Contains(early, "half") || strings.Contains(early, "reason") {
			t.Errorf("%s: early panic is answered %q", d.name, early)
		}
		if !strings.HasSuffix(late, "\r\n4\r\nhalf\r\n") {
			t.Errorf("%s: late panic is answered %q", d.name, late)
		}
		if aborted != "" {
			t.Errorf("%s: aborted answer is %q", d.name, aborted)
		}
		if n := strings.Count(log.String(), "the reason"); n != 2 || !strings.Contains(log.String(), "behaviour_test.go") {
			t.Errorf("%s: log is %s", d.name, log.String())
		}
		all := recs.all()
		if len(all) != 3 || all[0].WhyBad != record.OwnError || all[0].Answer.Status != 500 || !all[1].Answer.Broken ||
			all[1].WhyBad != record.OwnError || all[2].Answer.Status != 0 || all[2].WhyBad == record.Good {
			t.Errorf("%s: records are %+v", d.name, all)
		}
	}
}

func TestClientThatGoesCancelsTheRequest(t *testing.T) {
	for _, d := range serverDrivers {
		for _, how := range []string{"close", "half"} {
			if how == "half" && d.name == "tls" {
				continue // a close_notify says only that nothing more is sent, not that nothing is read
			}
			t.Run(d.name+"/"+how, func(t *testing.T) {
				entered := make(chan bool)
				var recs records
				s := &Server{Done: recs.done, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					ctx, cancel := context.WithCancel(r.Context())
					defer cancel()
					done := ctx.Done()
					entered <- true
					select {
					case <-done:
					case <-time.After(patience):
						t.Error("the request was not cancelled")
					}
				})}
				client, wait := connectTo(t, d, s)
				_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
				<-entered
				if how == "close" {
					client.Close()
				} else {
					_ = client.(interface{ CloseWrite() error }).CloseWrite()
				}
				wait()
				if r := recs.all(); len(r) != 1 || r[0].WhyBad != record.ClientGone || r[0].Answer.Status != 0 {
					t.Errorf("records are %+v", r)
				}
			})
		}
	}
}

func TestWatchingLosesNoByte(t *testing.T) {
	gate := make(chan bool)
	h := func(w http.ResponseWriter, r *http.Request) {
		done := r.Context().Done()
		if r.URL.Path == "/wait" {
			<-gate
		}
		select {
		case <-done:
			t.Error("cancelled")
		default:
		}
		hello(w, r)
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		for range 3 {
			b.send(t, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
			b.send(t, "POST /next HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
			runtime.Gosched()
			gate <- true
			for _, want := range []string{"GET x/wait ", "POST x/next ab"} {
				if _, body := b.answer(t); body != want {
					t.Errorf("got %q, want %q", body, want)
				}
			}
		}
	})
}

func TestContextEndsWithTheHandler(t *testing.T) {
	var ctx context.Context
	called := make(chan bool, 1)
	h := func(w http.ResponseWriter, r *http.Request) {
		ctx = r.Context()
		context.AfterFunc(ctx, func() { called <- true })
		stop := context.AfterFunc(ctx, func() { t.Error("stopped function was called") })
		if !stop() || stop() {
			t.Error("stop has to work once")
		}
		if record.From(ctx).Request.Path != "/" || ctx.Value(http.LocalAddrContextKey).(net.Addr) == nil || ctx.Err() != nil {
			t.Error("context knows neither record nor address, or has ended")
		}
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, plainGet)
		b.answer(t)
		<-called
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("context ended with %v", ctx.Err())
		}
	})
}

func TestUnreadBodyIsSkippedOrEndsTheConnection(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(422) }
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"+strings.Repeat("x", 200000))
		if r, _ := b.answer(t); r.StatusCode != 422 || r.Close {
			t.Fatalf("got %d, close %v", r.StatusCode, r.Close)
		}
		b.send(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
		if r, _ := b.answer(t); r.StatusCode != 422 || !r.Close {
			t.Fatalf("got %d, close %v; want a closed connection", r.StatusCode, r.Close)
		}
	})
}

func TestEarlyAnswerIsReadByAClientThatIsStillSending(t *testing.T) {
	body := strings.Repeat("x", 8<<20)
	send := func(t *testing.T, d serverDriver) {
		var limits limitCounts
		s := &Server{Limits: selvage.Limits{Body: 1 << 20}, OnLimit: limits.hit,
			Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was asked") })}
		client, wait := connectTo(t, d, s)
		begin := time.Now()
		_, sent := io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\n\r\n"+body)
		r, err := http.ReadResponse(bufio.NewReader(client), nil)
		// A machine that takes longer for it than the server lingers cannot show it: there is virtual time for that.
		if slow := time.Since(begin) >= lingerTime; !slow && (sent != nil || err != nil || r.StatusCode != 413) {
			t.Errorf("got %v, %v; sent with %v", r, err, sent)
		}
		client.Close()
		wait()
		if n := limits.of("body"); n != 1 {
			t.Errorf("body counted %d times, want once", n)
		}
	}
	for _, d := range serverDrivers {
		t.Run(d.name, func(t *testing.T) {
			if d.name == "memory" {
				synctest.Test(t, func(t *testing.T) { send(t, d) })
				return
			}
			send(t, d)
		})
	}
}

func TestChunkedBodyIsLimited(t *testing.T) {
	for _, d := range serverDrivers {
		var recs records
		var limits limitCounts
		var n int
		var rerr error
		s := &Server{Done: recs.done, OnLimit: limits.hit, Limits: selvage.Limits{Body: 10},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var p []byte
				p, rerr = io.ReadAll(r.Body)
				n = len(p)
			})}
		got := talk(t, d, s, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n"+smuggled)
		large, ok := errors.AsType[*http.MaxBytesError](rerr)
		if !ok || large.Limit != 10 || n != 10 {
			t.Errorf("%s: read %d bytes and %v", d.name, n, rerr)
		}
		if !strings.HasPrefix(got, "HTTP/1.1 413 ") || strings.Count(got, "HTTP/1.1") != 1 {
			t.Errorf("%s: got %q", d.name, got)
		}
		if r := recs.all(); len(r) != 1 || r[0].LimitHit != "body" || r[0].Answer.Status != 413 || limits.of("body") != 0 {
			t.Errorf("%s: records are %+v", d.name, r)
		}
		got = talk(t, d, s, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\na\r\n1234567890\r\n0\r\n\r\n")
		if n != 10 || rerr != nil || !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("%s: body of the limit: read %d bytes and %v, answered %q", d.name, n, rerr, got)
		}
	}
}

func TestLowerBodyLimitOfAPolicyWorks(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 5)
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, "policy", http.StatusRequestEntityTooLarge)
		}
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		for range 2 {
			b.send(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n12345678")
			if r, body := b.answer(t); r.StatusCode != 413 || body != "policy\n" {
				t.Errorf("got %d %q", r.StatusCode, body)
			}
		}
	})
}

func TestBodyIsReadWhileTheAnswerIsWritten(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 1)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(bytes.ToUpper(buf[:n]))
			if err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
		r, err := http.ReadResponse(b.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		for i := range 10 {
			n, err := r.Body.Read(buf)
			if err != nil || string(buf[:n]) != "A" {
				t.Fatalf("round %d: %q, %v", i, buf[:n], err)
			}
			b.send(t, "1\r\na\r\n")
		}
		b.send(t, "0\r\n\r\n")
		if rest, err := io.ReadAll(r.Body); err != nil || string(rest) != "A" {
			t.Errorf("rest %q, %v", rest, err)
		}
	})
}

func TestReaderLeftBehindDoesNotHoldTheConnection(t *testing.T) {
	left := make(chan error, 1)
	h := func(w http.ResponseWriter, r *http.Request) {
		reading := make(chan bool)
		go func() {
			close(reading)
			_, err := io.ReadAll(r.Body)
			left <- err
		}()
		<-reading
		w.WriteHeader(413)
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc")
		r, _ := b.answer(t)
		b.client.Close()
		if err := <-left; err == nil || r.StatusCode != 413 {
			t.Errorf("got %d, the reader read %v", r.StatusCode, err)
		}
	})
}

func TestHijackedConnectionHasEveryByte(t *testing.T) {
	const upgrade = "Connection: Upgrade\r\nUpgrade: chat\r\n"
	for _, fields := range []string{upgrade, ""} {
		for _, how := range []string{"connection", "reader"} {
			h := func(w http.ResponseWriter, r *http.Request) {
				_ = r.Context().Done()
				nc, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer nc.Close()
				_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
				in := io.Reader(nc)
				if how == "reader" {
					in = rw
				}
				_, _ = io.Copy(nc, in)
				if _, err := io.WriteString(w, "late"); !errors.Is(err, http.ErrHijacked) {
					t.Errorf("writing gives %v", err)
				}
			}
			onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
				b.send(t, "GET / HTTP/1.1\r\nHost: x\r\n"+fields+"\r\nearly ")
				time.Sleep(time.Millisecond)
				b.send(t, "late")
				_ = b.client.(interface{ CloseWrite() error }).CloseWrite()
				got, err := io.ReadAll(b.r)
				if err != nil || string(got) != "HTTP/1.1 101 Switching Protocols\r\n\r\nearly late" {
					t.Errorf("got %q, %v", got, err)
				}
				b.wait()
				if r := b.recs.all(); len(r) != 1 || !r[0].Answer.Upgraded || r[0].Answer.Status != 101 || r[0].Answer.Broken {
					t.Errorf("records are %+v", r)
				}
			})
		}
	}
}

func TestUpgradeByWriteHeader(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Upgrade", "chat")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(101)
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(nc, "hi")
		nc.Close()
	}
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
		got, _ := io.ReadAll(b.r)
		if got := withoutDate(string(got)); got != "HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: Upgrade\r\n\r\nhi" {
			t.Errorf("got %q", got)
		}
	})
}

func TestUpgradeToH2CIsIgnored(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header) }
	got := talk(t, serverDrivers[1], &Server{Handler: http.HandlerFunc(h)},
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: H2C\r\nHTTP2-Settings: AA\r\n\r\n")
	if !strings.HasSuffix(got, "map[Connection:[Upgrade, HTTP2-Settings, close]]") {
		t.Errorf("got %q", got)
	}
}

func TestFilesAreCopiedWhole(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	h := func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) }
	onEveryDriver(t, h, func(t *testing.T, b *bubbled) {
		for range 2 {
			b.send(t, plainGet)
			if r, body := b.answer(t); body != string(data) || r.ContentLength != int64(len(data)) {
				t.Errorf("got %d bytes of %d", len(body), r.ContentLength)
			}
		}
		b.send(t, "GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=5-9\r\n\r\n")
		if r, body := b.answer(t); body != "56789" || r.StatusCode != 206 {
			t.Errorf("got %d %q", r.StatusCode, body)
		}
		b.client.Close()
		b.wait()
		if r := b.recs.all(); len(r) != 3 || r[0].Answer.BodyBytes != 1<<20 || r[2].Answer.BodyBytes != 5 {
			t.Errorf("records are %+v", r)
		}
	})
}

func TestDrainEndsWhatIsIdleAndFinishesWhatRuns(t *testing.T) {
	for _, d := range serverDrivers {
		t.Run(d.name, func(t *testing.T) {
			gate, entered := make(chan bool), make(chan bool, 10)
			s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				entered <- true
				if r.URL.Path == "/wait" {
					<-gate
				}
			})}
			idle, idleWait := connectTo(t, d, s)
			busy, busyWait := connectTo(t, d, s)
			_, _ = io.WriteString(idle, plainGet)
			<-entered
			ir := bufio.NewReader(idle)
			if _, err := http.ReadResponse(ir, nil); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(busy, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
			<-entered
			drained := make(chan error, 1)
			go func() { drained <- s.Drain(context.Background()) }()
			idleWait()
			if _, err := ir.ReadByte(); err != io.EOF {
				t.Errorf("idle connection: %v, want its end", err)
			}
			_, _ = io.WriteString(busy, plainGet) // pipelined, and not taken any more
			gate <- true
			got, _ := io.ReadAll(busy)
			if err := <-drained; err != nil {
				t.Error(err)
			}
			busyWait()
			if n := strings.Count(string(got), "HTTP/1.1 200"); n != 1 || !strings.Contains(string(got), "Connection: close") {
				t.Errorf("got %q", got)
			}
			late, lateWait := connectTo(t, d, s)
			lateWait()
			if got, _ := io.ReadAll(late); len(got) != 0 {
				t.Errorf("after the drain: %q", got)
			}
		})
	}
}

func TestDrainCutsWhatDoesNotEnd(t *testing.T) {
	for _, d := range serverDrivers {
		t.Run(d.name, func(t *testing.T) {
			entered := make(chan bool)
			s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/hijack" {
					nc, _, _ := http.NewResponseController(w).Hijack()
					entered <- true
					_, _ = io.Copy(io.Discard, nc)
					return
				}
				entered <- true
				_, _ = io.Copy(w, r.Body) // of which nothing ever comes
				<-r.Context().Done()
			})}
			var all sync.WaitGroup
			for _, text := range []string{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n", plainGet} {
				client, wait := connectTo(t, d, s)
				_, _ = io.WriteString(client, text)
				<-entered
				all.Go(wait)
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := s.Drain(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("drain gives %v", err)
			}
			all.Wait()
		})
	}
}

func TestConnectionEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
		client, server := memPair()
		var wg sync.WaitGroup
		wg.Go(func() { s.ServeConn(ctx, server, testInfo, []byte("GET / HT")) })
		_, _ = io.WriteString(client, "TP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		cancel()
		wg.Wait()
	})
}

func TestClientThatEndsItsSideWithTheRequestIsNotWaitedFor(t *testing.T) {
	for _, d := range serverDrivers {
		client, wait := connectTo(t, d, &Server{Handler: http.HandlerFunc(hello)})
		_, _ = io.WriteString(client, plainGet)
		_ = client.(interface{ CloseWrite() error }).CloseWrite()
		got, err := io.ReadAll(client)
		if err != nil || !strings.HasSuffix(string(got), "GET x/ ") {
			t.Errorf("%s: got %q, %v", d.name, got, err)
		}
		wait()
	}
}
