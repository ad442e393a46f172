package cache

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
)

// trial is a baseline and a canary over one store, each with an origin of its own.
type trial struct {
	store            *Store
	baseline, canary *edge
	layer            *Layer
}

// newTrial begins one. With the same making the canary may use what the baseline stored.
func newTrial(t *testing.T, same bool) *trial {
	store := NewStore(8 << 20)
	t.Cleanup(store.Close)
	tr := &trial{store: store, layer: new(Layer)}
	scope := shop
	scope.Policy = selvage.Cache{TTL: selvage.Duration(time.Minute)}
	scope.Making, scope.Layer = "old", new(Layer)
	old, neu := always(200, "", "old"), always(200, "", "new")
	tr.baseline = &edge{Transport: NewTransport(store, scope, old), t: t, origin: old}
	if scope.Layer = tr.layer; !same {
		scope.Making = "new"
	}
	tr.canary = &edge{Transport: NewTransport(store, scope, neu), t: t, origin: neu}
	store.Overlay(tr.layer)
	return tr
}

func (e *edge) expect(path, want string) {
	e.t.Helper()
	e.check(path, want)
	settled()
}

// check is expect for many at once.
func (e *edge) check(path, want string) {
	e.t.Helper()
	got := e.get(path)
	if got.body != want {
		e.t.Errorf("%s: got %q (%s), want %q", path, got.body, got.cacheStatus(), want)
	}
}

func TestACanaryReadsWhatTheSameMadeAndStoresApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, true)
		tr.baseline.expect("/a", "old")
		tr.canary.expect("/a", "old")
		tr.canary.expect("/b", "new")
		tr.canary.expect("/b", "new")
		tr.baseline.expect("/b", "old") // it never reads the overlay
		tr.baseline.expect("/b", "old")
		tr.canary.expect("/b", "new")
		if n, m := tr.baseline.origin.count(), tr.canary.origin.count(); n != 2 || m != 1 {
			t.Errorf("the origins got %d and %d requests, want 2 and 1", n, m)
		}
		time.Sleep(2 * time.Minute) // stale: the canary's refresh is stored apart, too
		tr.canary.expect("/a", "new")
		tr.baseline.expect("/a", "old")
		tr.canary.expect("/a", "new")
	})
}

func TestACanaryOfOtherRulesDoesNotReadTheBaselines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, false)
		tr.baseline.expect("/a", "old")
		tr.canary.expect("/a", "new")
		tr.canary.expect("/a", "new")
		tr.baseline.expect("/a", "old")
		if n := tr.canary.origin.count(); n != 1 {
			t.Errorf("the canary asked %d times, want once", n)
		}
	})
}

func TestAnUndoDropsTheOverlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, true)
		tr.baseline.expect("/a", "old")
		before := tr.store.Stats()
		for i := range 1000 {
			tr.canary.expect(fmt.Sprint("/", i), "new")
		}
		tr.store.Drop(tr.layer)
		if got := tr.store.Stats(); got.Objects != before.Objects || got.Bytes != before.Bytes {
			t.Errorf("got %+v, want %+v", got, before)
		}
		tr.canary.expect("/late", "new") // it still runs, and stores nothing any more
		if got := tr.store.Stats(); got.Objects != 1 || len(tr.store.queries) != 0 || len(tr.store.overlays.keys) != 0 {
			t.Errorf("%d answers are stored after the undo", got.Objects)
		}
	})
}

func TestAPromotionMergesTheOverlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, false)
		tr.baseline.expect("/0", "old")
		for i := range 1000 {
			tr.canary.expect(fmt.Sprint("/", i), "new")
		}
		// One is under way when the promotion comes.
		release := make(chan struct{})
		answer := tr.canary.origin.answer
		tr.canary.origin.answer = func(req *http.Request) (*http.Response, error) {
			<-release
			return answer(req)
		}
		var wg sync.WaitGroup
		wg.Go(func() { tr.canary.check("/slow", "new") })
		settled()
		tr.store.Merge(tr.layer)
		close(release)
		wg.Wait()
		settled()
		asked := tr.canary.origin.count()
		for i := range 1000 {
			tr.canary.expect(fmt.Sprint("/", i), "new")
		}
		tr.canary.expect("/slow", "new")
		if n := tr.canary.origin.count() - asked; n != 0 {
			t.Errorf("%d of the merged answers were fetched again", n)
		}
		if got := tr.store.Stats(); got.Objects != 1001 || len(tr.store.queries) != 0 {
			t.Errorf("%d answers are stored under %d keys of layers, want 1001 and none", got.Objects, len(tr.store.queries))
		}
		// An undo afterwards: what the other rules made is not given, and nothing is fetched for it.
		tr.store.Condemn([]string{"new"})
		tr.baseline.expect("/0", "old")
		if n := tr.canary.origin.count() - asked; n != 0 {
			t.Errorf("an undo fetched %d answers", n)
		}
	})
}

func TestFlightsAreNotSharedBetweenArms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, true)
		release := make(chan struct{})
		for _, e := range []*edge{tr.baseline, tr.canary} {
			answer := e.origin.answer
			e.origin.answer = func(req *http.Request) (*http.Response, error) {
				<-release
				return answer(req)
			}
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { tr.canary.check("/a", "new") })
			settled()
			wg.Go(func() { tr.baseline.check("/a", "old") })
			settled()
		}
		close(release)
		wg.Wait()
		if n, m := tr.baseline.origin.count(), tr.canary.origin.count(); n != 1 || m != 1 {
			t.Errorf("the origins got %d and %d requests, want one each", n, m)
		}
	})
}

func TestWhatMakesInvalidHitsBothLayers(t *testing.T) {
	for name, invalidate := range map[string]func(*trial){
		"a change through the baseline": func(tr *trial) { tr.baseline.do(post(tr.baseline.t)) },
		"a change through the canary":   func(tr *trial) { tr.canary.do(post(tr.canary.t)) },
		"a purge of the service":        func(tr *trial) { tr.store.Purge(Purge{Tenant: shop.Tenant, Service: shop.Service, All: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := newTrial(t, false)
				tr.baseline.expect("/a", "old")
				tr.canary.expect("/a", "new")
				invalidate(tr)
				n, m := tr.baseline.origin.count(), tr.canary.origin.count()
				tr.baseline.expect("/a", "old")
				tr.canary.expect("/a", "new")
				if tr.baseline.origin.count() != n+1 || tr.canary.origin.count() != m+1 {
					t.Error("a stored answer was given")
				}
			})
		})
	}
}

func TestRefillsAfterAnUndoAreFewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, false)
		for i := range 2 * MaxRefills {
			tr.canary.expect(fmt.Sprint("/", i), "new")
		}
		tr.store.Merge(tr.layer)
		release := make(chan struct{})
		answer := tr.baseline.origin.answer
		tr.baseline.origin.answer = func(req *http.Request) (*http.Response, error) {
			<-release
			return answer(req)
		}
		var wg sync.WaitGroup
		for i := range 2 * MaxRefills {
			for range 2 {
				wg.Go(func() { tr.baseline.check(fmt.Sprint("/", i), "old") })
			}
		}
		settled()
		if n := tr.baseline.origin.count(); n != MaxRefills {
			t.Errorf("%d refills at once, want %d", n, MaxRefills)
		}
		close(release)
		wg.Wait()
		if n := tr.baseline.origin.count(); n != 2*MaxRefills {
			t.Errorf("%d refills, want %d: one for each URL", n, 2*MaxRefills)
		}
	})
}

func TestRevisionsOfFilesUseEachOthersAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewStore(8 << 20)
		t.Cleanup(store.Close)
		scope := shop
		scope.Policy = selvage.Cache{TTL: selvage.Duration(time.Minute)}
		scope.Making = "one"
		one := &edge{Transport: NewTransport(store, scope, always(200, "", "one")), t: t, origin: nil}
		scope.Making = "two"
		two := &edge{Transport: NewTransport(store, scope, always(200, "", "two")), t: t, origin: nil}
		scope.Layer = new(Layer)
		deployed := &edge{Transport: NewTransport(store, scope, always(200, "", "deployed")), t: t, origin: nil}
		one.expect("/a", "one")
		two.expect("/a", "one")
		deployed.expect("/a", "deployed") // made by other rules
		two.expect("/a", "deployed")      // by the same
		one.expect("/a", "one")           // and this does not know it
	})
}

func TestTheOverlayIsInTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, true)
		tr.store.limit = 64 << 10
		for i := range 200 {
			tr.canary.expect(fmt.Sprint("/", i), "new")
		}
		tr.store.mu.Lock()
		defer tr.store.mu.Unlock()
		n := 0
		for _, keys := range tr.store.overlays.keys {
			n += len(keys)
		}
		if tr.store.used > tr.store.limit || n != tr.store.count || n == 200 {
			t.Errorf("%d bytes of %d, %d keys of %d answers", tr.store.used, tr.store.limit, n, tr.store.count)
		}
	})
}

func post(t *testing.T) *http.Request {
	req := get(t, "http://shop.example/a")
	req.Method = http.MethodPost
	return req
}

func TestWhatWasReplacedInTheOverlayIsMergedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, false)
		tr.canary.expect("/a", "new")
		time.Sleep(2 * time.Minute)
		tr.canary.expect("/a", "new")
		asked := tr.canary.origin.count()
		tr.store.Merge(tr.layer)
		tr.canary.expect("/a", "new")
		if n := tr.canary.origin.count(); n != asked || len(tr.store.queries) != 0 {
			t.Errorf("it was fetched again, or lies under the layer's key still")
		}
	})
}
