package cache

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
)

// bySlices is a policy by which a file of 300 bytes is fetched by slices of 100.
var bySlices = selvage.Cache{MaxBody: 100}

// slicedFile is that file. Each slice has a tag of its own, s0, s100 and s200, and all.
func slicedFile(delay time.Duration) (*file, *script) {
	f := &file{size: 300, tag: `"a"`}
	f.modified = func(_ *http.Request, res *http.Response) {
		if part, _, ok := partOf(res); ok {
			res.Header.Set("Surrogate-Key", fmt.Sprintf("all s%d", part.start))
		}
	}
	return f, &script{answer: func(req *http.Request) (*http.Response, error) {
		time.Sleep(delay)
		return f.answer(req)
	}}
}

func TestSliceOnItsWayCannotSlipInBehindAPurge(t *testing.T) {
	for _, what := range []string{"s0", "all", "/", ""} {
		for _, how := range []bool{hard, soft} {
			t.Run(fmt.Sprintf("of %q, soft %v", what, how), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, origin := slicedFile(10 * time.Second)
					e := newEdge(t, bySlices, origin)
					first := e.begin(get(t, "http://shop.example/", "Range", "bytes=0-9"))
					time.Sleep(5 * time.Second)
					if what == "" {
						e.purge(how)
					} else {
						e.purge(how, what)
					}
					second := e.begin(get(t, "http://shop.example/", "Range", "bytes=5-14"))
					if r := <-first; r.body != f.bytes(span{0, 10}) {
						t.Errorf("who asked before got %q, %v", r.body, r.err)
					}
					if r := <-second; r.body != f.bytes(span{5, 10}) || r.rec.Cache.Hit {
						t.Errorf("who asked after it got %q, %v, with %q", r.body, r.err, r.cacheStatus())
					}
					if n := origin.count(); n != 2 {
						t.Errorf("the origin was asked %d times, want once before and once after", n)
					}
					settled()
					e.expectPart(f, "0-9", span{0, 10}, "")
					if n := origin.count(); n != 2 {
						t.Errorf("what came after the purge was not stored")
					}
					e.store.check(t)
				})
			})
		}
	}
}

// An answer that is put together while it is read takes nothing from the store that was
// purged meanwhile.
func TestPurgeBetweenTwoSlicesEndsWhatIsStoredOfTheNext(t *testing.T) {
	for _, how := range []bool{hard, soft} {
		onVirtualTime(t, func(t *testing.T) {
			f, origin := slicedFile(0)
			f.size = 400
			e := newEdge(t, bySlices, origin)
			e.expectPart(f, "100-199", span{100, 100}, "selvage; fwd=uri-miss; stored")
			e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=partial; stored")
			res, err := e.RoundTrip(get(t, "http://shop.example/", "Range", "bytes=50-249"))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 50)
			if _, err := io.ReadFull(res.Body, got); err != nil {
				t.Fatal(err)
			}
			e.purge(how, "s100")
			rest, err := io.ReadAll(res.Body)
			res.Body.Close()
			if string(got)+string(rest) != f.bytes(span{50, 200}) || err != nil {
				t.Errorf("got %q and %q, %v", got, rest, err)
			}
			settled()
			// The last slice is what the answer began with: it was the first gap.
			e.expectRanges("100-199", "0-99", "200-299", "100-199")
			e.expectPart(f, "100-109", span{100, 10}, "selvage; hit; ttl=60")
			e.store.check(t)
		})
	}
}

func TestPurgeWhileTheNextSliceIsFetchedBreaksNoAnswer(t *testing.T) {
	for _, what := range []string{"s100", "/"} {
		for _, how := range []bool{hard, soft} {
			onVirtualTime(t, func(t *testing.T) {
				f, origin := slicedFile(10 * time.Second)
				e := newEdge(t, bySlices, origin)
				first := e.begin(get(t, "http://shop.example/", "Range", "bytes=0-299"))
				time.Sleep(15 * time.Second)
				e.purge(how, what)
				second := e.begin(get(t, "http://shop.example/", "Range", "bytes=100-199"))
				if r := <-first; r.body != f.bytes(span{0, 300}) || r.err != nil {
					t.Errorf("got %d bytes, %v", len(r.body), r.err)
				}
				if r := <-second; r.body != f.bytes(span{100, 100}) || r.err != nil || r.rec.Cache.Hit {
					t.Errorf("who asked after the purge got %d bytes, %v", len(r.body), r.err)
				}
			})
		}
	}
}

// Of several parts that are asked for, each is fetched when its turn comes.
func TestPurgeWhileAFurtherPartIsFetchedBreaksNoAnswer(t *testing.T) {
	for _, how := range []bool{hard, soft} {
		onVirtualTime(t, func(t *testing.T) {
			f, origin := slicedFile(10 * time.Second)
			f.size = 3000
			e := newEdge(t, bySlices, origin)
			e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
			asking := e.begin(get(t, "http://shop.example/", "Range", "bytes=0-9, 1000-1009, 2000-2009"))
			time.Sleep(15 * time.Second)
			e.expectRanges("0-99", "1000-1099", "2000-2099")
			e.purge(how, "s2000")
			if r := <-asking; !strings.Contains(r.body, f.bytes(span{2000, 10})) || r.err != nil {
				t.Errorf("soft %v: got %q, %v", how, r.body, r.err)
			}
		})
	}
}

func TestPurgeBeforeTheBodyIsReadEndsAStoredSlice(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f, origin := slicedFile(0)
		e := newEdge(t, bySlices, origin)
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
		res, err := e.RoundTrip(get(t, "http://shop.example/", "Range", "bytes=0-9"))
		if err != nil {
			t.Fatal(err)
		}
		e.purge(hard, "s0")
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if string(got) != f.bytes(span{0, 10}) || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		e.expectRanges("0-99", "0-99")
		settled()
	})
}

func TestPurgedPartIsNeverCombined(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f, origin := slicedFile(0)
		e := newEdge(t, bySlices, origin)
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
		e.expectPart(f, "100-109", span{100, 10}, "selvage; fwd=partial; stored")
		e.purge(hard, "s0")
		e.expectPart(f, "200-209", span{200, 10}, "selvage; fwd=partial; stored")
		e.expectPart(f, "100-299", span{100, 200}, "selvage; hit; ttl=60")
		e.expectPart(f, "0-299", span{0, 300}, "selvage; fwd=partial; stored")
		// With the tag that was purged the older slices stay slices.
		e.expectPart(f, "0-299", span{0, 300}, "selvage; hit; ttl=60")
		e.expectRanges("0-99", "100-199", "200-299", "0-99")
		e.store.check(t)
	})
}

// What ends one part ends the whole, and a whole that was soft in a part is stale.
func TestWholeOfPartsHasTheLeastPositionAndAllTags(t *testing.T) {
	for _, tt := range []struct {
		first, last string
	}{{"0-9", "200-209"}, {"200-209", "0-9"}} {
		for _, how := range []bool{hard, soft} {
			onVirtualTime(t, func(t *testing.T) {
				f, origin := slicedFile(0)
				e := newEdge(t, bySlices, origin)
				e.get("/", "Range", "bytes="+tt.first)
				settled()
				e.purge(hard, "something else")
				e.get("/", "Range", "bytes=100-109")
				settled()
				e.purge(hard, "something else")
				e.get("/", "Range", "bytes="+tt.last)
				settled()
				q := e.newInquiry(get(t, "http://shop.example/"))
				whole := e.lookup(q).answer
				if whole == nil || whole.isPart() || whole.position != 0 {
					t.Fatalf("of parts that were asked for at 0, 1 and 2 came %+v, want a whole of 0", whole)
				}
				e.purge(how, "s100")
				if v := q.consider(e.lookup(q)); v == useFresh {
					t.Errorf("the purge of one part left the whole fresh")
				}
				if r := e.get("/"); r.body != f.bytes(span{0, 300}) || r.rec.Cache.Hit {
					t.Errorf("got %d bytes with %q", len(r.body), r.cacheStatus())
				}
			})
		}
	}
}

// The purge comes between the look at what is stored and the request to the
// origin: what is stored was not made stale yet when the next part joins it.
func TestPartThatWasPurgedSoftlyMakesNoWholeFresh(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f, origin := slicedFile(0)
		f.size = 200
		e := newEdge(t, bySlices, origin)
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
		q := e.newInquiry(get(t, "http://shop.example/", "Range", "bytes=100-109"))
		q.key = q.exact
		q.consider(e.lookup(q))
		s := e.stitches(q, q.good)
		sub, ok := e.missing(q, &s)
		if !ok || sub == nil {
			t.Fatal("nothing is missing")
		}
		e.purge(soft, "s0")
		fl, _ := e.joinPiece(sub)
		if _, _, err := e.awaitPiece(q, sub, fl, true); err != nil {
			t.Fatal(err)
		}
		settled()
		e.expectPart(f, "100-109", span{100, 10}, "selvage; hit; ttl=60")
		if r := e.get("/", "Range", "bytes=0-9"); r.body != f.bytes(span{0, 10}) || r.rec.Cache.Hit {
			t.Errorf("got %q with %q", r.body, r.cacheStatus())
		}
	})
}

func TestConfirmationOfPartsTakesBackNoPurgeAndNoTag(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f, origin := slicedFile(0)
		e := newEdge(t, bySlices, origin)
		e.expectPart(f, "100-109", span{100, 10}, "selvage; fwd=uri-miss; stored")
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=partial; stored")
		time.Sleep(61 * time.Second)
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=stale; fwd-status=304") // it speaks of both
		e.expectPart(f, "100-109", span{100, 10}, "selvage; hit; ttl=60")
		e.purge(hard, "s100")
		e.expectPart(f, "0-9", span{0, 10}, "selvage; hit; ttl=60")
		time.Sleep(61 * time.Second)
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=stale; fwd-status=304")
		e.expectPart(f, "100-109", span{100, 10}, "selvage; fwd=partial; stored")
		e.expectPart(f, "0-9", span{0, 10}, "selvage; hit; ttl=60")
		e.store.check(t)
	})
}

func TestSoftPurgeWhileStalePartsAreConfirmedLeavesThemStale(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		f, origin := slicedFile(10 * time.Second)
		e := newEdge(t, bySlices, origin)
		e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
		time.Sleep(61 * time.Second)
		asking := e.begin(get(t, "http://shop.example/", "Range", "bytes=0-9"))
		time.Sleep(5 * time.Second)
		e.purge(soft, "s0")
		if r := <-asking; r.body != f.bytes(span{0, 10}) {
			t.Errorf("got %q, %v", r.body, r.err)
		}
		settled()
		before := origin.count()
		e.expectPart(f, "0-9", span{0, 10}, "")
		if got := origin.last().Header.Get("If-None-Match"); origin.count() == before && got != `"a"` {
			t.Errorf("it was not asked about again, last with If-None-Match %q", got)
		}
	})
}

func TestPurgeEndsThePartsOfAnOverlay(t *testing.T) {
	for _, what := range []string{"s0", "/", ""} {
		onVirtualTime(t, func(t *testing.T) {
			tr := newTrial(t, true)
			f, origin := slicedFile(0)
			for _, e := range []*edge{tr.baseline, tr.canary} {
				scope := e.scope
				scope.Policy.MaxBody = bySlices.MaxBody
				e.Transport, e.origin = NewTransport(tr.store, scope, origin), origin
				e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
				e.expectPart(f, "0-9", span{0, 10}, "selvage; hit; ttl=60")
			}
			if what == "" {
				tr.canary.purge(hard)
			} else {
				tr.canary.purge(hard, what)
			}
			for _, e := range []*edge{tr.baseline, tr.canary} {
				e.expectPart(f, "0-9", span{0, 10}, "selvage; fwd=uri-miss; stored")
			}
			tr.store.Merge(tr.layer)
			tr.store.check(t)
		})
	}
}
