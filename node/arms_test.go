package node

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/rollout"
)

const oldService = `service: test
hosts: ["*"]
origins: {web: {endpoints: [http://one], retry: {attempts: 2, backoff: 0s}, timeout: {first_byte: 2s}}}
routes:
  - {name: pages, match: {path: /p/*}, origin: web, cache: {ttl: 60s}}
  - {name: rest, match: {path: /*}, origin: web}
`

const newService = `service: test
hosts: ["*"]
origins: {web: {endpoints: [http://one], retry: {attempts: 2, backoff: 0s}, timeout: {first_byte: 2s}}}
routes:
  - {name: special, match: {path: /p/special}, origin: web, cache: {ttl: 60s}}
  - {name: all, match: {path: /p/*}, origin: web, cache: {ttl: 60s}}
  - {name: moved, match: {path: /moved}, redirect: {to: /p/1}}
  - {name: others, match: {path: /*}, origin: web}
`

// answers is an origin whose answer a path says.
func answers(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/fail":
		w.WriteHeader(http.StatusInternalServerError)
	case "/empty":
	case "/hang":
		<-r.Context().Done()
	case "/cut":
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("half"))
		panic(http.ErrAbortHandler)
	case "/round":
		http.Redirect(w, r, r.URL.RequestURI(), http.StatusFound)
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("one"))
	case "/late":
		time.Sleep(time.Second)
		_, _ = w.Write([]byte("late"))
	default:
		_, _ = w.Write([]byte("good"))
	}
}

func TestMakingsAreCountedAndDeliveriesAreNot(t *testing.T) {
	serve(t, oldService, answers, func(b *bed) {
		b.canary(newService, 1)
		for _, tc := range []struct {
			path string
			want []string
		}{
			// The class is what the baseline calls the request, whatever the canary does.
			{"/p/special", []string{"begin canary pages", "end [] 4 bytes 0s"}},
			{"/p/special", nil}, // a stored answer
			{"/other", []string{"begin canary rest", "end [] 4 bytes 0s"}},
			{"/late", []string{"begin canary rest", "end [] 4 bytes 1s"}},
			{"/fail", []string{"begin canary rest", "end [origin 5xx] no body 0s"}},
			{"/empty", []string{"begin canary rest", "end [] 0 bytes 0s"}},
			{"/cut", []string{"begin canary rest", "end [origin 5xx] no body 0s"}},
			{"/round?x=1", slices.Repeat([]string{"begin canary rest", "end [empty or looping] no body 0s"}, 10)}, // until the client gives up
			{"/events", []string{"begin canary rest", "end [] no body 0s"}},
			{"/moved", []string{"begin canary rest", "end [] 33 bytes 0s", "begin canary pages", "end [] 4 bytes 0s"}},
		} {
			b.get(tc.path)
			b.ledger.expect(t, tc.want...)
		}
		b.get("/hang") // ends at the deadline; two attempts were made, one making
		b.ledger.expect(t, "begin canary rest", "end [origin 5xx] no body 2s")
	})
}

func TestTheFirstAttemptCountsWhereARetrySavedTheUser(t *testing.T) {
	first := true
	serve(t, oldService, func(w http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		answers(w, r)
	}, func(b *bed) {
		b.canary(newService, 1)
		if got := b.get("/x"); got != "200 good" {
			t.Errorf("got %q", got)
		}
		b.ledger.expect(t, "begin canary rest", "end [origin 5xx] no body 0s")
	})
}

func TestWhatAnotherRolloutBeganIsNotCounted(t *testing.T) {
	serve(t, oldService, answers, func(b *bed) {
		b.canary(newService, 1)
		b.node.registry.watch("test").turn("c-2", &b.ledger)
		b.get("/x")
		b.ledger.expect(t)
	})
}

func TestACanaryThatFailsByItselfIsRescued(t *testing.T) {
	folder := t.TempDir()
	broken := `service: test
hosts: ["*"]
origins: {web: {folder: ` + folder + `/site}}
routes:
  - {name: all, match: {path: /*}, origin: web, on_failure: [{default: {status: 503, body: sorry}}]}
`
	if err := os.Mkdir(folder+"/site", 0o755); err != nil {
		t.Fatal(err)
	}
	serve(t, oldService, answers, func(b *bed) {
		b.canary(broken, 1)
		if err := os.Remove(folder + "/site"); err != nil {
			t.Fatal(err)
		}
		if got := b.get("/x"); got != "200 good" {
			t.Errorf("got %q, want what the old revision answers", got)
		}
		b.ledger.expect(t, "begin canary rest", "end [own 5xx] no body 0s", "rescued")
		// What cannot be repeated is not: the ladder answers.
		res, err := b.client.Post("http://203.0.113.1/x", "text/plain", nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusMethodNotAllowed { // a folder's answer
			t.Errorf("got %d", res.StatusCode)
		}
	})
}

// replays is the origin of a test of replays: it notes what is played again, and can fail
// for the new revision, whose requests have X-New.
type replays struct {
	paths   []string
	failing bool
}

func (o *replays) serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(ReplayField) != "" {
		o.paths = append(o.paths, r.URL.Path)
		if o.failing && r.Header.Get("X-New") != "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
	}
	answers(w, r)
}

// prepareNew prepares the service with X-New beside the one that is served.
func (b *bed) prepareNew() (before, after selvage.RevisionID) {
	b.t.Helper()
	s := parse(b.t, oldService)
	before, err := config.LocalRevision(s, selvage.Outside{})
	if err != nil {
		b.t.Fatal(err)
	}
	s.Routes[0].Headers.Request.Set = map[string]string{"X-New": "yes"}
	after = config.Revision(s)
	if err := b.node.Prepare(b.t.Context(), rollout.Revision{ID: after, Tenant: selvage.DefaultTenant, Service: s}); err != nil {
		b.t.Fatal(err)
	}
	return before, after
}

func TestRecordedRequestsAreReplayedOnBothRevisions(t *testing.T) {
	var origin replays
	serve(t, oldService, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(ReplayField) != "" && r.Header.Get("Cookie")+r.Header.Get("Authorization") != "" {
			t.Errorf("a replayed request has %v", r.Header)
		}
		origin.serve(w, r)
	}, func(b *bed) {
		for range recordOneOf {
			b.get("/p/1?a=b")
		}
		for range recordOneOf {
			b.get("/rest") // a route without a cache
		}
		before, after := b.prepareNew()
		got, err := b.node.Replay(b.t.Context(), before, after, 100)
		if err != nil || got.Requests != 1 || got.Worse != 0 || len(origin.paths) != 2 {
			t.Errorf("got %+v, %v, %d marked requests", got, err, len(origin.paths))
		}
		origin.failing = true
		got, err = b.node.Replay(b.t.Context(), before, after, 100)
		if err != nil || got.Worse != 1 || got.Examples[0] != "GET /p/1: 200, now 500" {
			t.Errorf("got %+v, %v", got, err)
		}
		if stats := b.node.registry.store.Stats(); stats.Objects != 1 {
			t.Errorf("%d answers are stored, want the user's alone", stats.Objects)
		}
	})
}

// What a service serves is more than can be played in the time that who deploys waits.
func TestAReplayEndsInTimeAndSaysWhatItFound(t *testing.T) {
	var origin replays
	serve(t, oldService, origin.serve, func(b *bed) {
		for i := range 200 {
			for range recordOneOf {
				b.get(fmt.Sprint("/p/", i))
			}
		}
		time.Sleep(time.Hour) // the requests a second are forgotten
		before, after := b.prepareNew()
		began := time.Now()
		got, err := b.node.Replay(b.t.Context(), before, after, 500)
		if took := time.Since(began); err != nil || got.Requests < 20 || got.Worse != 0 || took > replayFor+replayDeadline {
			t.Errorf("got %+v, %v in %v", got, err, took)
		}
		if origin.paths[0] != "/p/199" {
			t.Errorf("the first is %s, and not the newest", origin.paths[0])
		}
		origin.failing = true
		got, err = b.node.Replay(b.t.Context(), before, after, 500)
		if err != nil || !got.Convicts() || got.Worse != got.Requests || got.Requests > 24 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestRecordedRequestsOfAllRoutesTakeTurns(t *testing.T) {
	r := &recording{}
	for i := range 10 {
		r.ring = append(r.ring, recorded{route: "page", target: fmt.Sprint("/p/", i)})
	}
	r.ring = append(r.ring, recorded{route: "api", target: "/api/old"}, recorded{route: "api", target: "/api/new"})
	r.next = 3
	rs := &recordings{each: map[selvage.ServiceName]*recording{"shop": r}}
	var got []string
	for _, one := range rs.of("shop", 5) {
		got = append(got, one.target)
	}
	if want := "/p/2 /api/new /p/1 /api/old /p/0"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestWhatIsNotPreparedIsNotServed(t *testing.T) {
	serve(t, oldService, answers, func(b *bed) {
		err := b.node.Serve("test", rollout.Arms{Baseline: "0123456789abcdef"}, nil)
		if selvage.KindOf(err) != selvage.NotFound || b.get("/x") != "200 good" {
			t.Errorf("got %v", err)
		}
		s := parse(t, newService)
		s.Origins["web"] = selvage.Origin{Folder: "/nowhere/at/all"}
		err = b.node.Prepare(b.t.Context(), rollout.Revision{ID: "x", Tenant: selvage.DefaultTenant, Service: s})
		if selvage.KindOf(err) != selvage.Invalid {
			t.Errorf("got %v, want what cannot be compiled to be invalid", err)
		}
	})
}

func TestRevisionsGoWithTheirLastUser(t *testing.T) {
	serve(t, oldService, answers, func(b *bed) {
		b.canary(newService, 0.5)
		id := config.Revision(parse(t, newService))
		rev := b.node.prepared[id]
		b.node.Forget(id)
		if n := rev.users.Load(); n != 1 {
			t.Errorf("a served revision has %d users, want the table", n)
		}
		if err := b.node.Serve("test", rollout.Arms{}, nil); err != nil {
			t.Fatal(err)
		}
		if n := rev.users.Load(); n != 0 {
			t.Errorf("it has %d users after its end", n)
		}
	})
}

// The level of what is promoted is watched for an hour: what it makes has to be counted then, too.
func TestMakingsAreCountedWhileThePromotedRevisionIsWatched(t *testing.T) {
	serve(t, oldService, answers, func(b *bed) {
		id, err := config.LocalRevision(parse(t, oldService), selvage.Outside{})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.node.Serve("test", rollout.Arms{Change: "c-1", Baseline: id}, nil); err != nil {
			t.Fatal(err)
		}
		b.node.registry.watch("test").turn("c-1", &b.ledger)
		b.get("/fail")
		b.ledger.expect(t, "begin baseline rest", "end [origin 5xx] no body 0s")
		w, err := b.node.Why(t.Context(), client.WhyRequest{URL: "http://203.0.113.1/fail"})
		if err != nil || w.Change != "" || w.Arm != "" {
			t.Errorf("everybody has the same, and why names change %q and arm %q; %v", w.Change, w.Arm, err)
		}
	})
}

// A file that is changed right after the start: what it said before is heard of
// when it is gone, and what it says now holds.
func TestWhatAFileSaidBeforeItWasNotedIsNotTurnedBackTo(t *testing.T) {
	serve(t, revised("first"), answers, func(b *bed) {
		id := func(name string) selvage.RevisionID {
			id, err := config.LocalRevision(parse(t, revised(name)), selvage.Outside{})
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		served := func(want string) {
			t.Helper()
			res, err := b.client.Get("http://203.0.113.1/a")
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if got := res.Header.Get("X-Revision"); got != want {
				t.Errorf("revision %q is served, want %q", got, want)
			}
		}
		reload := func(name string) {
			t.Helper()
			if _, err := b.node.Reload(selvage.Config{Node: *b.node.settings(), Services: []selvage.Service{parse(t, revised(name))}}); err != nil {
				t.Fatal(err)
			}
		}
		reload("between")
		reload("second")
		reload("second") // as when the file of another service is changed
		first := rollout.Revision{ID: id("first"), Tenant: selvage.DefaultTenant, Service: parse(t, revised("first"))}
		if err := b.node.Prepare(b.t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if err := b.node.Serve("test", rollout.Arms{Change: "c-1", Baseline: id("first")}, nil); selvage.KindOf(err) != selvage.Conflict {
			t.Errorf("what the file said before: %v", err)
		}
		served("second")
		for _, name := range []string{"second", "first"} { // and an undo of it goes back
			if err := b.node.Serve("test", rollout.Arms{Change: "c-2", Baseline: id(name)}, nil); err != nil {
				t.Fatal(err)
			}
			served(name)
		}
	})
}
