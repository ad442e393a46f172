package cache

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/selvage-edge/selvage"
)

// file is an origin with one file, of any size, that honours a range.
type file struct {
	size     int64
	tag      string
	fields   string
	modified func(req *http.Request, res *http.Response)
}

// at is the byte of a file at a position: neighbouring slices differ, and versions.
func (f *file) at(pos int64) byte { return byte('a' + (pos/7+pos/SliceSize+int64(len(f.tag)))%26) }

func (f *file) bytes(part span) string {
	b := make([]byte, part.length)
	for i := range b {
		b[i] = f.at(part.start + int64(i))
	}
	return string(b)
}

func (f *file) answer(req *http.Request) (*http.Response, error) {
	fields := "Cache-Control: max-age=60\nEtag: " + f.tag + "\n" + f.fields
	if matchesAny(req.Header[ifNoneMatch], f.tag) {
		return reply(req, 304, fields, ""), nil
	}
	part, _, v := wantedRange(http.Header{"Range": req.Header["Range"]}, nil, f.size, epoch)
	var res *http.Response
	switch v {
	case onePart:
		res = reply(req, 206, fields+"\nContent-Range: "+contentRange(part, f.size), f.bytes(part))
	case unsatisfiable:
		res = reply(req, 416, "Cache-Control: max-age=60\nContent-Range: bytes */"+strconv.FormatInt(f.size, 10), "")
	default:
		res = reply(req, 200, fields, f.bytes(span{0, f.size}))
	}
	if f.modified != nil {
		f.modified(req, res)
	}
	return res, nil
}

// ranges are those that the origin was asked for, "" for the whole.
func (s *script) ranges() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.asked {
		all = append(all, strings.TrimPrefix(r.Header.Get("Range"), "bytes="))
	}
	return all
}

func (e *edge) expectRanges(want ...string) {
	e.t.Helper()
	if got := e.origin.ranges(); !slices.Equal(got, want) {
		e.t.Errorf("the origin was asked for %q, want %q", got, want)
	}
}

// expectPart checks one part of a file, and how it came where cacheStatus says so.
func (e *edge) expectPart(f *file, field string, part span, cacheStatus string) {
	e.t.Helper()
	r := e.get("/", "Range", "bytes="+field)
	settled()
	if r.err != nil || r.status != 206 || r.body != f.bytes(part) || r.header.Get("Content-Range") != contentRange(part, f.size) || cacheStatus != "" && r.cacheStatus() != cacheStatus {
		e.t.Errorf("%s: got %d, %d bytes, %q, %v, with %q; want %q with %q", field, r.status, len(r.body), r.header.Get("Content-Range"), r.err,
			r.cacheStatus(), contentRange(part, f.size), cacheStatus)
	}
}

const mib = 1 << 20

func TestRangeOfALargeObjectFetchesOnlyItsSlices(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 10 << 30, tag: `"a"`}
		e := newEdge(t, selvage.Cache{}, &script{answer: f.answer})
		e.expectPart(f, "5368709120-5368709129", span{5 << 30, 10}, "selvage; fwd=uri-miss; stored")
		e.expectPart(f, "5368709125-5368709220", span{5<<30 + 5, 96}, "selvage; hit; ttl=60")
		e.expectPart(f, "5369757690-5369757700", span{5<<30 + mib - 6, 11}, "selvage; fwd=partial; stored")
		e.expectPart(f, "-5", span{10<<30 - 5, 5}, "selvage; fwd=partial; stored")
		e.expectPart(f, "10737418236-", span{10<<30 - 4, 4}, "selvage; hit; ttl=60")
		e.expectRanges("5368709120-5369757695", "5369757696-5370806271", "10736369664-10737418239")
		if s := e.store.Stats(); s.Objects != 3 || s.Receiving != 0 || s.Flights != 0 {
			t.Errorf("it holds %+v", s)
		}
		e.store.check(t)
	})
}

func TestRangeOverManySlicesIsOneAnswer(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 5*mib + 10, tag: `"a"`}
		e := newEdge(t, selvage.Cache{MaxBody: 2 * mib}, &script{answer: f.answer})
		e.expectPart(f, "2097152-2097153", span{2 * mib, 2}, "selvage; fwd=uri-miss; stored")
		e.expectPart(f, "5-", span{5, 5*mib + 5}, "selvage; fwd=partial; stored")
		e.expectRanges("2097152-3145727", "0-1048575", "1048576-2097151", "3145728-4194303", "4194304-5242879", "5242880-5242889")
	})
}

func TestRangeOverSlicesThatCannotBeCombinedGoesOnAsItCame(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 300, tag: `W/"a"`}
		e := newEdge(t, bySlices, &script{answer: f.answer})
		e.expectPart(f, "50-149", span{50, 100}, "")
		e.expectRanges("0-99", "50-149")
		e.expectPart(f, "50-99", span{50, 50}, "selvage; hit; ttl=60")
	})
}

func TestPartsThatHoldAllAreTheWhole(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 3*mib + 5, tag: `"a"`, fields: "Cache-Groups: \"g\""}
		e := newEdge(t, selvage.Cache{MaxBody: 64 * mib}, &script{answer: f.answer})
		e.store.limit = 64 * mib
		e.Transport = NewTransport(e.store, e.scope, e.origin)
		e.expectPart(f, "3145729-3145730", span{3*mib + 1, 2}, "selvage; fwd=uri-miss; stored")
		e.expectPart(f, "0-1", span{0, 2}, "selvage; fwd=partial; stored")
		r := e.get("/")
		settled()
		if r.status != 200 || r.body != f.bytes(span{0, f.size}) || r.cacheStatus() != "selvage; fwd=partial; fwd-status=206; stored" || r.header.Get("Content-Range") != "" {
			t.Errorf("got %d with %d bytes, %v, %v", r.status, len(r.body), r.header, r.err)
		}
		e.expectRanges("3145728-4194303", "0-1048575", "1048576-3145727")
		if s := e.store.Stats(); s.Objects != 1 {
			t.Errorf("it holds %d answers, want the whole alone", s.Objects)
		}
		if r := e.get("/"); r.body != f.bytes(span{0, f.size}) || r.cacheStatus() != "selvage; hit; ttl=60" {
			t.Errorf("got %d bytes with %s", len(r.body), r.cacheStatus())
		}
		e.store.check(t)
	})
}

func TestSmallObjectIsStoredWholeByItsFirstRange(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 1000, tag: `W/"a"`} // one answer needs no strong validator
		e := newEdge(t, selvage.Cache{}, &script{answer: f.answer})
		e.expectPart(f, "10-19", span{10, 10}, "selvage; fwd=uri-miss; stored")
		if r := e.get("/"); r.status != 200 || r.body != f.bytes(span{0, 1000}) || r.cacheStatus() != "selvage; hit; ttl=60" {
			t.Errorf("got %d %q with %s", r.status, r.body, r.cacheStatus())
		}
	})
}

func TestStalePartsAreConfirmedTogether(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 10 << 30, tag: `"a"`}
		e := newEdge(t, selvage.Cache{}, &script{answer: f.answer})
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
		e.expectPart(f, "1048576-1048577", span{mib, 2}, "selvage; fwd=partial; stored")
		time.Sleep(61 * time.Second)
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=stale; fwd-status=304")
		if got := e.origin.last().Header; got.Get("If-None-Match") != `"a"` || got.Get("Range") != "bytes=0-1048575" {
			t.Errorf("asked with %v", got)
		}
		e.expectPart(f, "1048576-1048577", span{mib, 2}, "selvage; hit; ttl=60")
		e.expectRanges("0-1048575", "1048576-2097151", "0-1048575")
	})
}

func TestPartsOfTwoRepresentationsAreNeverMixed(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		old := &file{size: 10 << 30, tag: `"a"`}
		now := *old
		e := newEdge(t, selvage.Cache{}, &script{answer: func(req *http.Request) (*http.Response, error) { return now.answer(req) }})
		e.expectPart(old, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
		now.tag = `"changed"`
		// The beginning is stored and would be given; the end is of something else.
		e.expectPart(&now, "1048000-1048999", span{1048000, 1000}, "")
		e.expectPart(&now, "0-9", span{0, 10}, "selvage; hit; ttl=60")

		// It changes while an answer is on its way: that one breaks.
		res, err := e.RoundTrip(get(t, "http://shop.example/", "Range", "bytes=0-5242879"))
		if err != nil {
			t.Fatal(err)
		}
		now.tag = `"once more"`
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if !errors.Is(err, errOtherBytes) || res.Header.Get("Etag") != `"changed"` {
			t.Errorf("got %d bytes of %s, %v", len(got), res.Header.Get("Etag"), err)
		}
		was := &file{size: old.size, tag: `"changed"`}
		if string(got) != was.bytes(span{0, int64(len(got))}) {
			t.Errorf("what came before the break is of something else")
		}
		settled()
		e.expectPart(&now, "0-9", span{0, 10}, "selvage; fwd=partial; stored")
	})
}

// The origin has something else when the last piece of an answer is fetched that has begun
// with stored ones: the answer breaks, and what was stored is not put together with the piece.
func TestAPieceOfAnotherVersionEndsThePartsOfTheFirst(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		old, now := &file{size: 300, tag: `"a"`}, &file{size: 300, tag: `"bb"`}
		var changed atomic.Bool
		e := newEdge(t, bySlices, &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("Range") == "bytes=200-299" {
				changed.Store(true)
			}
			if changed.Load() {
				return now.answer(req)
			}
			return old.answer(req)
		}})
		e.expectPart(old, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
		if r := e.get("/", "Range", "bytes=0-299"); r.err == nil || !strings.HasPrefix(old.bytes(span{0, 200}), r.body) {
			t.Errorf("got %d bytes, %v, want it broken before the other version begins", len(r.body), r.err)
		}
		settled()
		e.expectPart(now, "0-299", span{0, 300}, "")
		e.expectPart(now, "0-299", span{0, 300}, "")
		e.store.check(t)
	})
}

func TestAnswerCutShortIsNeverStoredAsWhole(t *testing.T) {
	for _, tt := range []struct {
		tag, field string
		rest       string // what the next request asks the origin for
	}{
		{`"a"`, "", "300-999"},
		{`W/"a"`, "", ""},
		{`"a"`, "0-499", "300-499"},
	} {
		t.Run(tt.tag+tt.field, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				f := &file{size: 1000, tag: tt.tag}
				f.modified = func(req *http.Request, res *http.Response) {
					res.Body = io.NopCloser(io.MultiReader(io.LimitReader(res.Body, 300), iotest.ErrReader(io.ErrUnexpectedEOF)))
				}
				e := newEdge(t, selvage.Cache{}, &script{answer: f.answer})
				var fields []string
				if tt.field != "" {
					fields = []string{"Range", "bytes=" + tt.field}
				}
				r := e.get("/", fields...)
				settled()
				if r.err == nil || r.rec.Cache.Stored {
					t.Errorf("got %d bytes, %v, stored %v", len(r.body), r.err, r.rec.Cache.Stored)
				}
				f.modified = nil
				if r := e.get("/"); r.status != 200 || r.body != f.bytes(span{0, 1000}) || r.err != nil {
					t.Errorf("got %d with %d bytes, %v", r.status, len(r.body), r.err)
				}
				if got := e.origin.ranges(); got[1] != strings.Replace(tt.rest, "300-499", "300-999", 1) {
					t.Errorf("then asked for %q, want %q", got[1], tt.rest)
				}
			})
		})
	}
}

func TestRangeThatMayNotBeSharedGoesOnAsItCame(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 10 << 30, tag: `"a"`}
		f.modified = func(req *http.Request, res *http.Response) { res.Header.Set("Cache-Control", "private, max-age=60") }
		e := newEdge(t, selvage.Cache{}, &script{answer: f.answer})
		e.expectPart(f, "10-19", span{10, 10}, "selvage; fwd=uri-miss; detail=private")
		e.expectPart(f, "10-19", span{10, 10}, "selvage; fwd=uri-miss; detail=private")
		e.expectRanges("0-1048575", "10-19", "10-19")
	})
}

func TestMalformedPartIsNotStored(t *testing.T) {
	for _, fields := range []string{
		"Content-Range: bytes 0-9/*", "Content-Range: bytes 9-0/10", "Content-Range: bytes 0-10/10", "Content-Range: items 0-9/10",
		"Content-Range: bytes 0-4/10", "", "Content-Range: bytes 0-9/10\nContent-Range: bytes 0-9/10",
	} {
		onVirtualTime(t, func(t *testing.T) {
			e := newEdge(t, oneMinute, always(206, "Etag: \"a\"\n"+fields, "0123456789"))
			for range 2 {
				e.get("/", "Range", "bytes=0-9")
				settled()
			}
			if s := e.store.Stats(); s.Objects != 0 {
				t.Errorf("%q was stored", fields)
			}
		})
	}
}

func TestConditionsAndRangesAreEvaluatedOnParts(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 10 << 30, tag: `"a"`}
		e := newEdge(t, selvage.Cache{}, &script{answer: f.answer})
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
		if r := e.get("/", "Range", "bytes=10737418240-"); r.status != 416 || r.header.Get("Content-Range") != "bytes */10737418240" {
			t.Errorf("got %d %v", r.status, r.header)
		}
		if r := e.get("/", "Range", "bytes=0-1", "If-None-Match", `"a"`); r.status != 304 {
			t.Errorf("got %d %v", r.status, r.header)
		}
		if r := e.get("/", "Range", "bytes=0-1,400-401"); r.status != 206 || !strings.HasPrefix(r.header.Get("Content-Type"), "multipart/byteranges") {
			t.Errorf("got %d %v", r.status, r.header)
		}
		if r := e.get("/", "Range", "bytes=0-1,1048576-1048577"); r.status != 206 || !strings.Contains(r.body, "bytes 1048576-1048577/10737418240\r\n\r\n"+f.bytes(span{mib, 2})) {
			t.Errorf("got %d %q", r.status, r.body)
		}
		e.expectRanges("0-1048575", "1048576-2097151")
		if r := e.get("/", "Range", "bytes=5242880-", "Cache-Control", "only-if-cached"); r.status != 504 {
			t.Errorf("got %d", r.status)
		}
	})
}

func TestRequestsForOneSliceAskOnce(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 10 << 30, tag: `"a"`}
		e := newEdge(t, selvage.Cache{}, &script{answer: func(req *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return f.answer(req)
		}})
		var all []<-chan result
		for i := range 10 {
			all = append(all, e.begin(get(t, "http://shop.example/", "Range", fmt.Sprintf("bytes=%d-1100000", i))))
		}
		for i, c := range all {
			if r := <-c; r.status != 206 || r.body != f.bytes(span{int64(i), 1100001 - int64(i)}) {
				t.Errorf("got %d with %d bytes, %v", r.status, len(r.body), r.err)
			}
		}
		e.expectRanges("0-1048575", "1048576-2097151")
	})
}

func TestPartsStandInForAnOriginThatFails(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 10 << 30, tag: `"a"`}
		down := false
		e := newEdge(t, selvage.Cache{StaleIfError: selvage.Duration(time.Minute)}, &script{answer: func(req *http.Request) (*http.Response, error) {
			if down {
				return nil, errOrigin
			}
			return f.answer(req)
		}})
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
		down = true
		time.Sleep(70 * time.Second)
		e.expectPart(f, "5-9", span{5, 5}, "selvage; fwd=stale; ttl=-10; detail=stale-if-error")
		if r := e.get("/", "Range", "bytes=1048570-1048580"); !errors.Is(r.err, errOrigin) {
			t.Errorf("got %d with %d bytes, %v: half of it is not there", r.status, len(r.body), r.err)
		}
	})
}

func TestPartsEndWithTheirURLAndTheirGroups(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 10 << 30, tag: `"a"`, fields: "Cache-Groups: \"g\""}
		e := newEdge(t, selvage.Cache{}, &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Method == "POST" {
				return reply(req, 200, "Cache-Group-Invalidation: \"g\"", ""), nil
			}
			return f.answer(req)
		}})
		for _, path := range []string{"/", "/other"} {
			e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
			e.expectPart(f, "2-9", span{2, 8}, "selvage; hit; ttl=60")
			req := get(t, "http://shop.example"+path)
			req.Method = "POST"
			e.do(req)
		}
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
	})
}

func TestGapsAreWhatNothingHolds(t *testing.T) {
	tests := []struct {
		of   span
		have []span
		want []span
	}{
		{span{0, 10}, nil, []span{{0, 10}}},
		{span{0, 10}, []span{{0, 10}}, nil},
		{span{2, 5}, []span{{0, 3}, {5, 9}}, []span{{3, 2}}},
		{span{0, 10}, []span{{8, 9}, {2, 2}, {3, 3}}, []span{{0, 2}, {6, 2}}},
	}
	for _, tt := range tests {
		if got := gapsIn(tt.of, tt.have, 9); !slices.Equal(got, tt.want) {
			t.Errorf("%v without %v is %v, want %v", tt.of, tt.have, got, tt.want)
		}
	}
}

// FuzzContentRange: what is read is what it says again, and lies within its whole.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-1/2", "bytes 0-1/*", "bytes */2", "bytes 9-1/20", "Bytes 4-9/10", "bytes 0-0/9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		part, total, ok := parseContentRange(s)
		if !ok {
			return
		}
		if part.start < 0 || part.length < 1 || part.end() > total {
			t.Fatalf("%q is %v of %d", s, part, total)
		}
		again, size, ok := parseContentRange(contentRange(part, total))
		if !ok || again != part || size != total {
			t.Errorf("%q: %v of %d is written as %q", s, part, total, contentRange(part, total))
		}
	})
}

// TestNextSliceIsFetchedWhileOneIsSent: who reads on does not wait for the origin
// once a slice, each slice is asked for once, and nobody's leaving brings more than one.
func TestNextSliceIsFetchedWhileOneIsSent(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 10 << 30, tag: `"a"`}
		const away = 50 * time.Millisecond
		e := newEdge(t, selvage.Cache{}, &script{answer: func(req *http.Request) (*http.Response, error) {
			time.Sleep(away)
			return f.answer(req)
		}})
		e.store.limit = 64 * mib
		began := time.Now()
		res, err := e.RoundTrip(get(t, "http://shop.example/", "Range", "bytes=1048577-5242879"))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4*mib-1)
		if _, err := io.ReadFull(res.Body, got[:1]); err != nil {
			t.Fatal(err)
		}
		settled()
		time.Sleep(away)
		e.expectRanges("1048576-2097151", "2097152-3145727")
		for pos := 1; pos < len(got); pos += mib { // he takes as long for a slice as the origin does
			if _, err := io.ReadFull(res.Body, got[pos:min(pos+mib, len(got))]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(away)
		}
		res.Body.Close()
		if string(got) != f.bytes(span{mib + 1, 4*mib - 1}) {
			t.Error("the bytes are others")
		}
		if n := e.origin.count(); n != 4 {
			t.Errorf("the origin was asked %d times, want once for each of four slices", n)
		}
		if took := time.Since(began); took > 6*away {
			t.Errorf("reading took %v, want no more than the first slice and four times %v", took, away)
		}

		res, err = e.RoundTrip(get(t, "http://shop.example/", "Range", "bytes=104857600-"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, got[:1]); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		time.Sleep(10 * away)
		if n := e.origin.count(); n != 6 {
			t.Errorf("the origin was asked %d times, want two more for one who left in the first of many slices", n-4)
		}
		if s := e.store.Stats(); s.Flights != 0 || s.Receiving != 0 || s.Sending != 0 {
			t.Errorf("left behind %+v", s)
		}
	})
}

func TestSlicesThatAreFetchedAheadAreBounded(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f := &file{size: 10 << 30, tag: `"a"`}
		held := make(chan struct{})
		e := newEdge(t, selvage.Cache{}, &script{answer: func(req *http.Request) (*http.Response, error) {
			if strings.HasSuffix(req.Header.Get("Range"), "97151") || strings.HasSuffix(req.Header.Get("Range"), "00999") {
				<-held
			}
			return f.answer(req)
		}})
		limits := make(map[string]int)
		e.store.OnLimit = func(limit string) { limits[limit]++ }
		var all []*http.Response
		for _, path := range []string{"/1", "/2", "/3"} { // the store has room for one slice ahead
			res, err := e.RoundTrip(get(t, "http://shop.example"+path, "Range", "bytes=0-2097151"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(res.Body, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			all = append(all, res)
		}
		settled()
		if n := e.origin.count(); n != 4 || limits["ahead"] != 2 {
			t.Errorf("the origin was asked %d times, with limits %v; want 3 times and once ahead, and the limit twice", n, limits)
		}
		close(held)
		for i, res := range all {
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != f.bytes(span{10, 2*mib - 10}) {
				t.Errorf("%d: %d bytes, %v", i, len(body), err)
			}
			res.Body.Close()
		}
	})
}
