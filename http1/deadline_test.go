package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// bubble runs f with a connected client on virtual time. lim, recs and wait are
// those of the server, which has handler h.
func bubble(t *testing.T, h http.HandlerFunc, f func(t *testing.T, b *bubbled)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubbled{server: &Server{Handler: h}}
		b.server.Done, b.server.OnLimit = b.recs.done, b.limits.hit
		b.client, b.wait = connectTo(t, serverDrivers[0], b.server)
		b.r = bufio.NewReader(b.client)
		f(t, b)
		b.client.Close()
		b.wait()
	})
}

type bubbled struct {
	server *Server
	client net.Conn
	r      *bufio.Reader
	recs   records
	limits limitCounts
	wait   func()
}

func (b *bubbled) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(b.client, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads one answer with its body.
func (b *bubbled) answer(t *testing.T) (*http.Response, string) {
	t.Helper()
	r, err := http.ReadResponse(b.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

// closedAfter says when the server closes, from now.
func (b *bubbled) closedAfter(t *testing.T) (rest string, d time.Duration) {
	t.Helper()
	begin := time.Now()
	left, err := io.ReadAll(b.r)
	if err != nil {
		t.Fatal(err)
	}
	return string(left), time.Since(begin)
}

func TestSlowHeadIsCutOffAfterTheWholeHeadsTime(t *testing.T) {
	bubble(t, hello, func(t *testing.T, b *bubbled) {
		b.send(t, "GET / HTTP/1.1\r\nHost: x\r\n")
		for range 9 { // a byte a second does not buy more time
			time.Sleep(time.Second)
			b.send(t, "A")
		}
		rest, after := b.closedAfter(t)
		if !strings.HasPrefix(rest, "HTTP/1.1 408 ") || after != time.Second {
			t.Errorf("after %v: %q, want 408 after 1s", after, rest)
		}
		if n := b.limits.of("deadline_head"); n != 0 {
			t.Errorf("deadline_head counted %d times beside the record, want none", n)
		}
		b.client.Close()
		b.wait()
		if r := b.recs.all(); len(r) != 1 || r[0].LimitHit != "deadline_head" || r[0].Answer.Status != 408 {
			t.Errorf("records are %+v", r)
		}
	})
}

func TestSilentConnectionIsClosedWithoutAnAnswer(t *testing.T) {
	bubble(t, hello, func(t *testing.T, b *bubbled) {
		if rest, after := b.closedAfter(t); rest != "" || after != 10*time.Second {
			t.Errorf("after %v: %q, want nothing after 10s", after, rest)
		}
		if n := b.limits.of("deadline_head"); n != 1 {
			t.Errorf("deadline_head counted %d times, want 1", n)
		}
	})
}

func TestIdleConnectionIsClosedAfterItsLastRequest(t *testing.T) {
	bubble(t, hello, func(t *testing.T, b *bubbled) {
		for range 20 { // more than an idle time in all
			b.send(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			b.answer(t)
			time.Sleep(7 * time.Second)
		}
		if rest, after := b.closedAfter(t); rest != "" || after != 68*time.Second {
			t.Errorf("after %v: %q, want nothing after 68s", after, rest)
		}
		if n := b.limits.of("deadline_idle"); n != 1 {
			t.Errorf("deadline_idle counted %d times, want 1", n)
		}
	})
}

func TestHeadOfALaterRequestHasItsOwnTime(t *testing.T) {
	bubble(t, hello, func(t *testing.T, b *bubbled) {
		b.send(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		b.answer(t)
		time.Sleep(70 * time.Second)
		b.send(t, "GET / HT")
		rest, after := b.closedAfter(t)
		if !strings.HasPrefix(rest, "HTTP/1.1 408 ") || after != 10*time.Second {
			t.Errorf("after %v: %q, want 408 after 10s", after, rest)
		}
	})
}

func TestBodyMayBeSlowButNotSilent(t *testing.T) {
	bubble(t, hello, func(t *testing.T, b *bubbled) {
		b.send(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
		for range 5 {
			time.Sleep(29 * time.Second)
			b.send(t, "a")
		}
		rest, after := b.closedAfter(t)
		if !strings.HasPrefix(rest, "HTTP/1.1 408 ") || after != 30*time.Second {
			t.Errorf("after %v: %q, want 408 after 30s", after, rest)
		}
		b.client.Close()
		b.wait()
		r := b.recs.all()
		if len(r) != 1 || r[0].LimitHit != "deadline_body" || r[0].Request.BodyBytes != 5 || b.limits.of("deadline_body") != 0 {
			t.Errorf("records are %+v", r)
		}
	})
}

func TestClientThatTakesNothingIsCutOff(t *testing.T) {
	var werr error
	big := strings.Repeat("x", 1<<20)
	h := func(w http.ResponseWriter, r *http.Request) { _, werr = io.WriteString(w, big) }
	bubble(t, h, func(t *testing.T, b *bubbled) {
		begin := time.Now()
		b.send(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		b.wait()
		if d := time.Since(begin); d != 30*time.Second || !errors.Is(werr, os.ErrDeadlineExceeded) {
			t.Errorf("cut off after %v with %v, want 30s and a passed deadline", d, werr)
		}
		r := b.recs.all()
		if len(r) != 1 || r[0].LimitHit != "deadline_write" || !r[0].Answer.Broken || r[0].WhyBad != record.ClientGone {
			t.Errorf("records are %+v", r)
		}
	})
}

func TestSlowClientIsServedAsLongAsItTakes(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1048576")
		_, _ = io.WriteString(w, big)
	}
	bubble(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		buf := make([]byte, 64<<10)
		total := 0
		for total < 1<<20 {
			time.Sleep(20 * time.Second)
			n, err := b.client.Read(buf)
			if err != nil {
				t.Fatalf("after %d bytes: %v", total, err)
			}
			total += n
		}
	})
}

func TestTotalDeadlineEndsTheHandlersContext(t *testing.T) {
	var after time.Duration
	h := func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		<-r.Context().Done()
		after = time.Since(begin)
		if !errors.Is(r.Context().Err(), context.DeadlineExceeded) {
			t.Errorf("context ended with %v", r.Context().Err())
		}
	}
	bubble(t, h, func(t *testing.T, b *bubbled) {
		b.send(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		r, _ := b.answer(t)
		if r.StatusCode != 503 || after != time.Hour {
			t.Errorf("got %d after %v, want 503 after 1h", r.StatusCode, after)
		}
		b.wait()
		if r := b.recs.all(); len(r) != 1 || r[0].WhyBad != record.DeadlineTotal || r[0].LimitHit != "deadline_total" {
			t.Errorf("records are %+v", r)
		}
	})
}

func TestTotalDeadlineIsEachRequestsOwn(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			t.Error("context ended before its time")
		case <-time.After(50 * time.Minute):
		}
	}
	bubble(t, h, func(t *testing.T, b *bubbled) {
		for range 5 {
			b.send(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			b.answer(t)
		}
	})
}

func TestHandlersDeadlinesHoldForItsRequestOnly(t *testing.T) {
	var readErr error
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/short" {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second))
			_, readErr = io.ReadAll(r.Body)
			w.WriteHeader(422)
			return
		}
		hello(w, r)
	}
	bubble(t, h, func(t *testing.T, b *bubbled) {
		begin := time.Now()
		b.send(t, "POST /short HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
		if r, _ := b.answer(t); r.StatusCode != 422 || time.Since(begin) != time.Second || !errors.Is(readErr, os.ErrDeadlineExceeded) {
			t.Errorf("got %d after %v, read error %v", r.StatusCode, time.Since(begin), readErr)
		}
	})
	bubble(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second))
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Second))
	}, func(t *testing.T, b *bubbled) {
		for range 3 {
			b.send(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			b.answer(t)
			time.Sleep(5 * time.Second)
		}
	})
}

func TestZeroIsNoBoundBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Handler: http.HandlerFunc(hello), Deadlines: selvage.Deadlines{Head: selvage.Duration(time.Second)}}
		client, wait := connectTo(t, serverDrivers[0], s)
		r := bufio.NewReader(client)
		for range 2 {
			_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := http.ReadResponse(r, nil); err != nil {
				t.Fatal(err)
			}
			_, _ = r.Discard(r.Buffered())
			time.Sleep(1000 * time.Hour)
		}
		client.Close()
		wait()
	})
}

func TestMalformedAnswerWaitsForASlowReader(t *testing.T) {
	bubble(t, hello, func(t *testing.T, b *bubbled) {
		begin := time.Now()
		b.send(t, "nonsense\r\n")
		b.wait() // nobody reads, nobody closes
		if d := time.Since(begin); d != lingerTime {
			t.Errorf("closed after %v, want %v", d, lingerTime)
		}
	})
}
