package cache

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/selvage-edge/selvage"
)

// What the fuzzed origin says, and what the fuzzed clients ask. Each list begins with nothing.
var (
	saidControls = []string{
		"", "max-age=10", "max-age=0", "max-age=10, public", "s-maxage=10", "no-store", "private, max-age=10", "no-cache",
		"max-age=10, must-revalidate", "max-age=10, stale-while-revalidate=5", "max-age=10, stale-if-error=5",
		"max-age=10, max-age=20", "max-age=10; public", `max-age=10, x="`, "max-age=5, no-cache", "public", "max-age=10, no-store, must-understand",
		"max-age=99999999999999999999", "max-age=-1", "private=\"x\", s-maxage=10",
	}
	saidVary   = []string{"", "X-Lang", "x-lang, X-Other", "*", "X Lang"}
	askedCC    = []string{"", "no-cache", "no-store", "max-age=5", "max-stale", "max-stale=3", "min-fresh=5", "only-if-cached", "max-age=0"}
	askedLang  = []string{"", "de", "fr"}
	askedAuth  = []string{"", "", "alice", "bob"}
	askedRange = []string{"", "", "", "bytes=0-1", "bytes=900-", "bytes=-3"}
	statuses   = []int{200, 200, 200, 200, 404, 302, 500, 503, 206, 299}
)

// fact is what the oracle knows of an answer that the origin gave.
type fact struct {
	id, path, lang, auth, cookie string
	status                       int
	control, vary                string
	setCookie, truncated         bool
	made                         time.Time   // or confirmed last
	confirmed                    []time.Time // by 304, in order
	confirmedBy                  []string    // ids of the requests
}

func (f *fact) says(word string) bool { return strings.Contains(f.control, word) }

// oracle is the origin, and knows what must not be served.
type oracle struct {
	mu    sync.Mutex // guards all below
	facts map[string]*fact
	next  []byte         // decides what the origin says
	gone  map[string]int // path: the last number that an unsafe request made invalid
	fails map[string]time.Time
}

// choose takes a byte to decide between n things.
func (o *oracle) choose(n int) int {
	if len(o.next) == 0 {
		return 0
	}
	b := int(o.next[0])
	o.next = o.next[1:]
	return b % n
}

// RoundTrip implements http.RoundTripper.
func (o *oracle) RoundTrip(req *http.Request) (*http.Response, error) {
	time.Sleep(time.Second)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	path, id := req.URL.Path, req.Header.Get("X-Id")
	if req.Method == "POST" {
		o.gone[path] = len(o.facts)
		return reply(req, 200, "", ""), nil
	}
	mode := o.choose(8)
	if mode == 7 {
		o.fails[path] = time.Now()
		return nil, errOrigin
	}
	if tag := req.Header.Get("If-None-Match"); tag != "" && mode < 4 {
		f := o.facts[strings.Trim(tag, `"`)]
		f.confirmed, f.confirmedBy = append(f.confirmed, time.Now()), append(f.confirmedBy, id)
		return reply(req, 304, "Cache-Control: "+f.control+"\nVary: "+f.vary, ""), nil
	}
	f := &fact{
		id: id, path: path, lang: req.Header.Get("X-Lang"), auth: req.Header.Get("Authorization"), cookie: req.Header.Get("Cookie"),
		status: statuses[o.choose(len(statuses))], control: saidControls[o.choose(len(saidControls))],
		vary: saidVary[o.choose(len(saidVary))], setCookie: o.choose(6) == 5, truncated: mode == 6, made: time.Now(),
	}
	if isFailure(f.status) {
		o.fails[path] = time.Now()
	}
	serial := strconv.Itoa(len(o.facts))
	o.facts[serial] = f
	fields := fmt.Sprintf("Etag: %q\nX-Serial: %s\nCache-Control: %s\nVary: %s", serial, serial, f.control, f.vary)
	if f.setCookie {
		fields += "\nSet-Cookie: session=" + id
	}
	res := reply(req, f.status, fields, "body of "+serial)
	if f.truncated {
		res.Body = io.NopCloser(io.MultiReader(strings.NewReader("body"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	}
	return res, nil
}

// asked is one request of a client.
type asked struct {
	req    *http.Request
	start  time.Time
	gone   int // answers before this number were invalid when it was asked
	result result
}

// judge says what is wrong with the answer that a client got, if anything.
func (o *oracle) judge(a *asked) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, id := a.result, a.req.Header.Get("X-Id")
	serial := r.header.Get("X-Serial")
	if errors.Is(r.err, errOrigin) || r.status == 504 && serial == "" || r.status == 416 {
		return nil
	}
	f := o.facts[serial]
	if f == nil {
		return fmt.Errorf("an answer %d without a serial", r.status)
	}
	if f.path != a.req.URL.Path {
		return fmt.Errorf("an answer for %s on a request for %s", f.path, a.req.URL.Path)
	}
	if whole := "body of " + serial; r.err == nil && a.req.Method == "GET" && r.status == f.status && r.body != whole {
		return fmt.Errorf("the body is %q, want %q", r.body, whole)
	}
	if f.id == id {
		return nil // made for this very request
	}
	lastConfirmed, mine := f.made, false
	for i, at := range f.confirmed {
		mine = mine || f.confirmedBy[i] == id
		lastConfirmed = at
	}
	if why := o.neverReusable(f, a); why != "" {
		return fmt.Errorf("reused an answer %s: %+v", why, *f)
	}
	if f.says("no-cache") && !mine {
		return fmt.Errorf("reused without asking for this request: %+v", *f)
	}
	if !lastConfirmed.Before(a.start) {
		return nil // it came, or was confirmed, after this request
	}
	n, _ := strconv.Atoi(serial)
	if n < a.gone {
		return fmt.Errorf("reused what was made invalid: %+v", *f)
	}
	return o.freshEnough(f, a, a.start.Sub(lastConfirmed))
}

// neverReusable are the rules that no freshness overrides.
func (o *oracle) neverReusable(f *fact, a *asked) string {
	public := f.says("public") && !f.says(";") || f.says("s-maxage")
	switch {
	case f.says("no-store") && !f.says("must-understand"):
		return "that said no-store"
	case f.says("private"):
		return "that was private"
	case f.says(";") || f.says(`x="`):
		return "that made no sense"
	case f.truncated && !a.result.rec.Cache.Collapsed: // those who read with the first see it break, too
		return "that was cut short"
	case f.setCookie && !public:
		return "with a client's cookie"
	case f.status == 206:
		return "that was a part"
	case f.vary == "*" || f.vary == "X Lang":
		return "that nobody can select"
	case f.vary != "" && f.lang != a.req.Header.Get("X-Lang"):
		return "for another language"
	case f.auth != "" && !public && !f.says("must-revalidate"):
		return "of another user"
	}
	return ""
}

// freshEnough checks an answer that was old already when the request was made.
func (o *oracle) freshEnough(f *fact, a *asked, age time.Duration) error {
	cc := a.req.Header.Get("Cache-Control")
	lifetime, explicit := explicitLifetime(nil, readAnswerDirectives([]string{f.control}), epoch)
	if !explicit {
		lifetime = oraclePolicy.TTL.Std()
		if f.auth != "" || f.cookie != "" {
			return fmt.Errorf("the ttl was applied to an answer for one client: %+v", *f)
		}
	}
	failed := !o.fails[f.path].Before(a.start)
	stale := age - lifetime
	switch {
	case stale < 0 && failed:
		return nil // it stands in
	case stale < 0 && slices.Contains([]string{"no-cache", "max-age=0"}, cc):
		return fmt.Errorf("%s was not honoured: %+v", cc, *f)
	case stale < 0:
		return nil
	case f.says("must-revalidate") || f.says("s-maxage"):
		return fmt.Errorf("stale for %v and forbidden: %+v", stale, *f)
	case f.says("stale-while-revalidate") && stale < 5*time.Second,
		f.says("stale-if-error") && stale < 5*time.Second && failed,
		!f.says("stale-if-error") && stale < oraclePolicy.StaleIfError.Std() && failed,
		!f.says("stale-while-revalidate") && stale < oraclePolicy.StaleWhileRevalidate.Std(),
		cc == "max-stale", cc == "max-stale=3" && stale <= 3*time.Second:
		return nil
	}
	return fmt.Errorf("stale for %v and nobody allowed it (origin failed %v, request %q): %+v", stale, failed, cc, *f)
}

var oraclePolicy = selvage.Cache{
	TTL:                  selvage.Duration(7 * time.Second),
	StaleWhileRevalidate: selvage.Duration(2 * time.Second),
	StaleIfError:         selvage.Duration(20 * time.Second),
}

// play lets clients ask, as the bytes decide: a few at once, then time passes.
func play(t *testing.T, script []byte) {
	o := &oracle{facts: map[string]*fact{}, gone: map[string]int{}, fails: map[string]time.Time{}}
	client := &oracle{next: script} // the clients' choices: all but the last third
	cut := len(script) * 2 / 3
	client.next, o.next = script[:cut], script[cut:]
	scope := shop
	scope.Policy = oraclePolicy
	e := newEdgeFor(t, scope, nil)
	e.next = o
	id := 0
	for len(client.next) > 0 {
		var running []<-chan result
		var all []*asked
		for range 1 + client.choose(3) {
			id++
			a := &asked{req: client.request(t, strconv.Itoa(id)), start: time.Now()}
			o.mu.Lock()
			a.gone = o.gone[a.req.URL.Path]
			o.mu.Unlock()
			all, running = append(all, a), append(running, e.begin(a.req))
		}
		for i, c := range running {
			all[i].result = <-c
			if all[i].req.Method == "POST" {
				continue
			}
			if err := o.judge(all[i]); err != nil {
				t.Errorf("request %d, %s %s %v\ngot %d %q, %v with %q\n%v", id-len(all)+i+1, all[i].req.Method, all[i].req.URL,
					all[i].req.Header, all[i].result.status, all[i].result.body, all[i].result.err, all[i].result.cacheStatus(), err)
			}
		}
		time.Sleep(time.Duration(client.choose(8)) * time.Second)
	}
	e.store.Close()
	e.store.check(t)
	if s := e.store.Stats(); s.Flights != 0 || s.Receiving != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// request is what one client asks, with an id that only the oracle looks at.
func (o *oracle) request(t *testing.T, id string) *http.Request {
	req := get(t, "http://shop.example"+[]string{"/a", "/b"}[o.choose(2)], "X-Id", id)
	req.Method = []string{"GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST"}[o.choose(8)]
	for name, v := range map[string]string{
		"X-Lang": askedLang[o.choose(3)], "Authorization": askedAuth[o.choose(4)],
	} {
		if v != "" {
			req.Header.Set(name, v)
		}
	}
	if cc := askedCC[o.choose(2*len(askedCC))%len(askedCC)]; cc != "" && o.choose(2) == 1 {
		req.Header.Set("Cache-Control", cc)
	}
	if r := askedRange[o.choose(6)]; r != "" {
		req.Header.Set("Range", r)
	}
	if o.choose(6) == 5 {
		req.Header.Set("Cookie", "c="+id)
	}
	return req
}

// FuzzTransport: random requests and random answers, and an oracle that knows
// what must not be served.
func FuzzTransport(f *testing.F) {
	f.Add([]byte("what is asked and what is answered, as these bytes decide"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 600 {
			script = script[:600]
		}
		onVirtualTime(t, func(t *testing.T) { play(t, script) })
	})
}
