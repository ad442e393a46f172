package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// begin sends a request; its answer comes through the channel.
func (e *edge) begin(req *http.Request) <-chan result {
	c := make(chan result, 1)
	go func() { c <- e.do(req) }() // whoever reads the channel waits for it
	return c
}

func (e *edge) beginGet(path string, fields ...string) <-chan result {
	return e.begin(get(e.t, "http://shop.example"+path, fields...))
}

// after makes an origin's answers take their time.
func after(d time.Duration, answer func(*http.Request) (*http.Response, error)) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		select {
		case <-time.After(d):
			return answer(req)
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
}

func TestRequestsForTheSameAskTheOriginOnce(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "", "one"))
		e.origin.answer = after(time.Second, e.origin.answer)
		var all []<-chan result
		for range 50 {
			all = append(all, e.beginGet("/"))
		}
		collapsed := 0
		for _, c := range all {
			r := <-c
			if r.body != "one" || r.err != nil {
				t.Errorf("got %q, %v", r.body, r.err)
			}
			switch r.cacheStatus() {
			case "selvage; fwd=uri-miss; stored":
			case "selvage; fwd=uri-miss; collapsed":
				collapsed++
			default:
				t.Errorf("Cache-Status %q", r.cacheStatus())
			}
		}
		if collapsed != 49 || e.origin.count() != 1 {
			t.Errorf("%d collapsed and origin asked %d times, want 49 and 1", collapsed, e.origin.count())
		}
	})
}

// streaming is an origin whose one answer comes in parts.
func streaming(fields string, length int64) (*script, <-chan *slowBody) {
	bodies := make(chan *slowBody, 10)
	return &script{answer: func(req *http.Request) (*http.Response, error) {
		b := newSlowBody(req)
		res := reply(req, 200, fields, "")
		res.Body, res.ContentLength = b, length
		delete(res.Header, "Content-Length")
		bodies <- b
		return res, nil
	}}, bodies
}

// open sends a request and leaves its body unread.
func (e *edge) open(ctx context.Context, path string) io.ReadCloser {
	e.t.Helper()
	res, err := e.RoundTrip(get(e.t, "http://shop.example"+path).WithContext(ctx))
	if err != nil {
		e.t.Fatal(err)
	}
	return res.Body
}

func readN(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	return string(p)
}

func TestWaitersReadAsBytesArriveAndASlowReaderHoldsNobody(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin, bodies := streaming("", -1)
		e := newEdge(t, oneMinute, origin)
		slow, fast := e.open(t.Context(), "/"), e.open(t.Context(), "/")
		src := <-bodies
		var want strings.Builder
		for i := range 100 {
			part := strings.Repeat(string(rune('a'+i%26)), 5000)
			src.parts <- part
			want.WriteString(part)
			if got := readN(t, fast, len(part)); got != part {
				t.Fatalf("part %d: got %.10q…", i, got)
			}
		}
		late := e.open(t.Context(), "/") // it comes in the middle and gets all
		close(src.parts)
		for name, r := range map[string]io.ReadCloser{"fast": fast} {
			if rest, err := io.ReadAll(r); len(rest) != 0 || err != nil {
				t.Errorf("%s: rest %d bytes, %v", name, len(rest), err)
			}
		}
		for name, r := range map[string]io.ReadCloser{"slow": slow, "late": late} {
			if got, err := io.ReadAll(r); string(got) != want.String() || err != nil {
				t.Errorf("%s: got %d bytes, %v; want %d", name, len(got), err, want.Len())
			}
			r.Close()
		}
		fast.Close()
		if origin.count() != 1 || e.store.Stats().Objects != 1 {
			t.Errorf("origin asked %d times, %d stored, want 1 and 1", origin.count(), e.store.Stats().Objects)
		}
		expect(t, e.get("/"), 200, want.String(), "selvage; hit; ttl=60")
	})
}

func TestLeaderMayLeaveBeforeTheHead(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "", "one"))
		e.origin.answer = after(time.Second, e.origin.answer)
		ctx, leave := context.WithCancel(t.Context())
		leader := e.begin(get(t, "http://shop.example/").WithContext(ctx))
		settled()
		waiter := e.beginGet("/")
		settled()
		leave()
		if r := <-leader; !errors.Is(r.err, context.Canceled) {
			t.Errorf("the leader got %v, want canceled", r.err)
		}
		expect(t, <-waiter, 200, "one", "selvage; fwd=uri-miss; collapsed")
		if e.origin.count() != 1 {
			t.Errorf("origin asked %d times, want 1", e.origin.count())
		}
	})
}

func TestLeaderMayLeaveInTheMiddle(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin, bodies := streaming("", -1)
		e := newEdge(t, oneMinute, origin)
		leader, waiter := e.open(t.Context(), "/"), e.open(t.Context(), "/")
		src := <-bodies
		src.parts <- "one, "
		readN(t, leader, 5)
		leader.Close()
		src.parts <- "two"
		close(src.parts)
		if got, err := io.ReadAll(waiter); string(got) != "one, two" || err != nil {
			t.Errorf("the waiter got %q, %v", got, err)
		}
		waiter.Close()
	})
}

func TestFlightEndsWithItsLastClient(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin, bodies := streaming("", -1)
		answer := origin.answer
		origin.answer = after(time.Second, answer)
		e := newEdge(t, oneMinute, origin)
		ctx, leave := context.WithCancel(t.Context())
		c := e.begin(get(t, "http://shop.example/").WithContext(ctx))
		settled()
		leave()
		<-c
		settled()
		if origin.last().Context().Err() == nil {
			t.Error("nobody waits for the head, and the origin is still asked")
		}
		origin.answer = answer
		r := e.open(t.Context(), "/")
		src := <-bodies
		src.parts <- "one"
		readN(t, r, 3)
		r.Close()
		settled()
		if !src.isClosed() {
			t.Error("nobody reads the body, and it still comes")
		}
		if s := e.store.Stats(); s.Flights != 0 || s.Receiving != 0 || s.Objects != 0 {
			t.Errorf("left behind: %+v", s)
		}
	})
}

func TestAnswerThatIsNearlyThereIsFetchedToItsEnd(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin, bodies := streaming("", 8)
		e := newEdge(t, oneMinute, origin)
		r := e.open(t.Context(), "/")
		src := <-bodies
		r.Close()
		src.parts <- "one, two"
		close(src.parts)
		settled()
		expect(t, e.get("/"), 200, "one, two", "selvage; hit; ttl=60")
	})
}

func TestAnswerIsStoredForAClientWhoWantedNoBody(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin, bodies := streaming(`ETag: "a"`, -1)
		e := newEdge(t, oneMinute, origin)
		expect(t, e.get("/", "If-None-Match", `"a"`), 304, "", "selvage; fwd=uri-miss; fwd-status=200; stored")
		src := <-bodies
		src.parts <- "one"
		close(src.parts)
		settled()
		expect(t, e.get("/"), 200, "one", "selvage; hit; ttl=60")
	})
}

func TestPrivateAnswerReleasesTheWaitersAndIsRemembered(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{}
		origin.answer = after(time.Second, func(req *http.Request) (*http.Response, error) {
			return reply(req, 200, "Cache-Control: private, max-age=60", "for "+req.Header.Get("X-User")), nil
		})
		e := newEdge(t, selvage.Cache{}, origin)
		ask := func() time.Duration {
			start := time.Now()
			all := map[string]<-chan result{}
			for i := range 20 {
				user := fmt.Sprint(i)
				all[user] = e.beginGet("/", "X-User", user)
			}
			for user, c := range all {
				if r := <-c; r.body != "for "+user || r.cacheStatus() != "selvage; fwd=uri-miss; detail=private" {
					t.Errorf("user %s got %q with %q", user, r.body, r.cacheStatus())
				}
			}
			return time.Since(start)
		}
		if took := ask(); took != 2*time.Second {
			t.Errorf("the first time took %v: want one second for the leader, one for all others", took)
		}
		if took := ask(); took != time.Second {
			t.Errorf("the second time took %v: want all at once", took)
		}
		time.Sleep(unstorableFor)
		if took := ask(); took != 2*time.Second {
			t.Errorf("after it was forgotten it took %v, want 2s", took)
		}
		if origin.count() != 60 {
			t.Errorf("origin asked %d times, want 60", origin.count())
		}
	})
}

func TestWhatBecomesStorableIsStoredAndCollapsedAgain(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, always(200, "Cache-Control: no-store", "one"))
		e.get("/")
		e.origin.answer = after(time.Second, always(200, "Cache-Control: max-age=5", "two").answer)
		expect(t, e.get("/"), 200, "two", "selvage; fwd=uri-miss; stored")
		time.Sleep(5 * time.Second)
		a, b := e.beginGet("/"), e.beginGet("/")
		<-a
		<-b
		if e.origin.count() != 3 {
			t.Errorf("origin asked %d times, want 3", e.origin.count())
		}
	})
}

func TestRequestsWithCredentialsDoNotHoldOthers(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{}
		origin.answer = func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("Authorization") != "" {
				time.Sleep(time.Hour - time.Second)
			}
			return reply(req, 200, "Cache-Control: max-age=60", "for "+req.Header.Get("Authorization")), nil
		}
		e := newEdge(t, selvage.Cache{}, origin)
		user := e.beginGet("/", "Authorization", "me")
		settled()
		start := time.Now()
		expect(t, e.get("/"), 200, "for ", "selvage; fwd=uri-miss; stored")
		if took := time.Since(start); took != 0 {
			t.Errorf("the anonymous request waited for %v", took)
		}
		expect(t, <-user, 200, "for me", "selvage; fwd=uri-miss; detail=authorization")
	})
}

func TestVariantsAreNotServedToWaitersOfOthers(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{}
		origin.answer = after(time.Second, func(req *http.Request) (*http.Response, error) {
			return reply(req, 200, "Cache-Control: max-age=60\nVary: Accept-Language", req.Header.Get("Accept-Language")), nil
		})
		e := newEdge(t, selvage.Cache{}, origin)
		languages := []string{"de", "fr", "it", "rm"}
		ask := func() time.Duration {
			start := time.Now()
			var all []<-chan result
			for i := range 20 {
				all = append(all, e.beginGet("/", "Accept-Language", languages[i%4]))
			}
			for i, c := range all {
				if r := <-c; r.body != languages[i%4] {
					t.Errorf("asked for %s, got %q with %q", languages[i%4], r.body, r.cacheStatus())
				}
			}
			return time.Since(start)
		}
		if took := ask(); took > 4*time.Second {
			t.Errorf("took %v, want at most one second for each language", took)
		}
		settled()
		time.Sleep(time.Minute)
		before := origin.count()
		if took := ask(); took != time.Second {
			t.Errorf("with what is known it took %v, want all languages at once", took)
		}
		if got := origin.count() - before; got != 4 {
			t.Errorf("with what is known the origin was asked %d times, want 4", got)
		}
	})
}

func TestFailureIsSharedByThoseWhoWait(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, &script{answer: after(time.Second, func(*http.Request) (*http.Response, error) { return nil, errOrigin })})
		var all []<-chan result
		for range 10 {
			all = append(all, e.beginGet("/"))
		}
		for _, c := range all {
			if r := <-c; !errors.Is(r.err, errOrigin) {
				t.Errorf("got %v, want the origin's error", r.err)
			}
		}
		if e.origin.count() != 1 {
			t.Errorf("origin asked %d times, want 1", e.origin.count())
		}
	})
}

func TestReloadsAreCollapsed(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "", "one"))
		e.get("/")
		settled()
		e.origin.answer = after(time.Second, e.origin.answer)
		var all []<-chan result
		for range 10 {
			all = append(all, e.beginGet("/", "Cache-Control", "no-cache"))
		}
		for _, c := range all {
			if r := <-c; r.rec.Cache.Fwd != "request" {
				t.Errorf("Cache-Status %q, want fwd=request", r.cacheStatus())
			}
		}
		if e.origin.count() != 2 {
			t.Errorf("origin asked %d times, want 2", e.origin.count())
		}
	})
}

func TestTruncatedAnswerBreaksForAllAndIsNotStored(t *testing.T) {
	for name, truncated := range map[string]struct {
		length int64
		broken error
	}{
		"error":        {-1, io.ErrUnexpectedEOF},
		"reset":        {20, errors.New("connection reset")},
		"short":        {20, nil},
		"too long":     {3, nil},
		"too long yet": {10, nil},
	} {
		t.Run(name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				origin, bodies := streaming("", truncated.length)
				e := newEdge(t, oneMinute, origin)
				a, b := e.open(t.Context(), "/"), e.open(t.Context(), "/")
				src := <-bodies
				src.broken = truncated.broken
				go func() {
					defer close(src.parts)
					select {
					case src.parts <- "one, two, three":
					case <-src.ctx:
					}
				}()
				for _, r := range []io.ReadCloser{a, b} {
					if got, err := io.ReadAll(r); err == nil {
						t.Errorf("got %q without an error", got)
					}
					r.Close()
				}
				settled()
				if s := e.store.Stats(); s.Objects != 0 || s.Receiving != 0 {
					t.Errorf("left behind: %+v", s)
				}
			})
		})
	}
}

func TestBodyBeyondTheBoundIsReadThroughAWindow(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin, bodies := streaming("", -1)
		e := newEdge(t, selvage.Cache{TTL: oneMinute.TTL, MaxBody: 256 << 10}, origin)
		reached := map[string]int{}
		e.store.OnLimit = func(limit string) { reached[limit]++ }
		slow, fast, second := e.open(t.Context(), "/"), e.open(t.Context(), "/"), e.open(t.Context(), "/")
		src := <-bodies
		part := strings.Repeat("x", 32<<10)
		for range 100 {
			src.parts <- part
			readN(t, fast, len(part))
			readN(t, second, len(part)) // a little behind is not too slow
			if r := e.store.Stats().Receiving; r > 512<<10 {
				t.Fatalf("the window takes %d bytes", r)
			}
		}
		if again := e.open(t.Context(), "/"); again != nil { // who comes now begins anew
			again.Close()
		}
		if origin.count() != 2 {
			t.Errorf("origin asked %d times, want 2", origin.count())
		}
		close(src.parts)
		for _, r := range []io.ReadCloser{fast, second} {
			if rest, err := io.ReadAll(r); len(rest) != 0 || err != nil {
				t.Errorf("rest %d bytes, %v", len(rest), err)
			}
			r.Close()
		}
		if got, err := io.ReadAll(slow); !errors.Is(err, errTooSlow) {
			t.Errorf("the slow reader got %d bytes, %v; want %v", len(got), err, errTooSlow)
		}
		slow.Close()
		settled()
		if s := e.store.Stats(); s.Objects != 0 || s.Receiving != 0 || s.Flights != 0 {
			t.Errorf("left behind: %+v", s)
		}
		if reached["max_body"] != 1 {
			t.Errorf("limits reached: %v, want max_body once", reached)
		}
	})
}

func TestOriginIsHeldByTheOnlyReaderOfAWindow(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		read := 0
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			res := reply(req, 200, "", "")
			res.ContentLength = -1
			res.Body = io.NopCloser(io.LimitReader(readerFunc(func(p []byte) (int, error) {
				read += len(p)
				return len(p), nil
			}), 10<<20))
			return res, nil
		}}
		e := newEdge(t, selvage.Cache{TTL: oneMinute.TTL, MaxBody: 256 << 10}, origin)
		r := e.open(t.Context(), "/")
		settled()
		if read > 512<<10 {
			t.Errorf("%d bytes were read ahead of the only reader", read)
		}
		if n, err := io.Copy(io.Discard, r); n != 10<<20 || err != nil {
			t.Errorf("got %d bytes, %v", n, err)
		}
		r.Close()
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAnswerOnItsWayDoesNotSlipInBehindAnInvalidation(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		body := "old"
		origin := &script{}
		origin.answer = func(req *http.Request) (*http.Response, error) {
			if req.Method == "POST" {
				body = "new"
				return reply(req, 204, "", ""), nil
			}
			made := body
			time.Sleep(time.Second)
			return reply(req, 200, "Cache-Control: max-age=60", made), nil
		}
		e := newEdge(t, selvage.Cache{}, origin)
		reader := e.beginGet("/")
		settled()
		post := get(t, "http://shop.example/")
		post.Method = "POST"
		e.do(post)
		after := e.beginGet("/")
		expect(t, <-reader, 200, "old", "selvage; fwd=uri-miss; stored")
		expect(t, <-after, 200, "new", "selvage; fwd=uri-miss; stored")
		settled()
		expect(t, e.get("/"), 200, "new", "selvage; hit; ttl=59")
	})
}

func TestInterimAnswersReachTheLeader(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			trace := httptrace.ContextClientTrace(req.Context())
			for range 3 {
				if err := trace.Got1xxResponse(103, textproto.MIMEHeader{"Link": {"</a>"}}); err != nil {
					return nil, err
				}
				time.Sleep(time.Second)
			}
			return reply(req, 200, "", "one"), nil
		}}
		e := newEdge(t, oneMinute, origin)
		start, got := time.Now(), []time.Duration(nil)
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
				if status != 103 || h.Get("Link") != "</a>" {
					t.Errorf("got %d %v", status, h)
				}
				got = append(got, time.Since(start))
				return nil
			},
		})
		expect(t, e.do(get(t, "http://shop.example/").WithContext(ctx)), 200, "one", "selvage; fwd=uri-miss; stored")
		if len(got) != 3 || got[0] != 0 || got[1] != time.Second || got[2] != 2*time.Second {
			t.Errorf("interim answers came at %v", got)
		}
	})
}

func TestLeaderWhoLeftDoesNotKeepHisPrivateAnswerOpen(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin, bodies := streaming("Cache-Control: private", -1)
		answer := origin.answer
		// It answers although nobody waits any more.
		origin.answer = func(req *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return answer(req)
		}
		e := newEdge(t, selvage.Cache{}, origin)
		ctx, leave := context.WithCancel(t.Context())
		c := e.begin(get(t, "http://shop.example/").WithContext(ctx))
		settled()
		leave()
		<-c
		if src := <-bodies; true {
			settled()
			if !src.isClosed() {
				t.Error("the body that nobody will read is open")
			}
		}
		// And one who leaves while he reads.
		ctx, leave = context.WithCancel(t.Context())
		origin.answer = answer
		r := e.open(ctx, "/")
		src := <-bodies
		leave()
		if _, err := io.ReadAll(r); err == nil {
			t.Error("reading goes on after the client has left")
		}
		r.Close()
		if !src.isClosed() || e.store.Stats().Flights != 0 {
			t.Errorf("closed %v, left behind %+v", src.isClosed(), e.store.Stats())
		}
	})
}

func TestRefreshesInTheBackgroundAreBounded(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, always(200, "Cache-Control: max-age=1, stale-while-revalidate=600", "one"))
		refused := 0
		e.store.OnLimit = func(limit string) {
			if limit == "refreshes" {
				refused++
			}
		}
		for i := range MaxRefreshes + 3 {
			e.get(fmt.Sprint("/", i))
		}
		time.Sleep(2 * time.Second)
		e.origin.answer = after(time.Minute, e.origin.answer)
		for i := range MaxRefreshes + 3 {
			if r := e.get(fmt.Sprint("/", i)); !r.rec.Cache.Hit {
				t.Errorf("%d: %q", i, r.cacheStatus())
			}
		}
		if s := e.store.Stats(); s.Flights != MaxRefreshes || refused != 3 {
			t.Errorf("%d flights and %d refused, want %d and 3", s.Flights, refused, MaxRefreshes)
		}
	})
}

func TestFlightThatNeverEndsHasADeadline(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, &script{answer: after(24*time.Hour, always(200, "", "late").answer)})
		start := time.Now()
		if r := e.get("/"); r.err == nil {
			t.Errorf("got %q", r.body)
		}
		if took := time.Since(start); took != FlightDeadline {
			t.Errorf("took %v, want %v", took, FlightDeadline)
		}
	})
}

func TestAnswerForOneClientHasNoDeadlineOfOurs(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin, bodies := streaming("Content-Type: text/event-stream", -1)
		e := newEdge(t, oneMinute, origin)
		r := e.open(t.Context(), "/")
		src := <-bodies
		time.Sleep(2 * FlightDeadline)
		go func() { src.parts <- "still here" }() // read below
		if got := readN(t, r, 10); got != "still here" {
			t.Errorf("got %q", got)
		}
		r.Close()
	})
}
