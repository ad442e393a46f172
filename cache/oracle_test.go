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
	askedCC    = []string{"", "no-cache", "no-store", "max-age=5", "max-stale", "max-stale=3", "min-fresh=5", "only-if-cached", "max-age=0", "stale-if-error=3", "stale-if-error=60"}
	askedLang  = []string{"", "de", "fr"}
	askedAuth  = []string{"", "", "alice", "bob"}
	askedRange = []string{"", "", "", "bytes=0-1", "bytes=900-", "bytes=-3", "bytes=2-7", "bytes=5-", "bytes=0-1,6-7"}
	statuses   = []int{200, 200, 200, 200, 404, 302, 500, 503, 200, 299, 200, 200}
)

// fact is what the oracle knows of an answer that the origin gave. What the origin
// has at a path is a version; many answers may bring it, or parts of it.
type fact struct {
	number, version                     int
	id, path, query, lang, auth, cookie string
	status                              int
	control, vary                       string
	setCookie, grouped, anyQuery        bool
	made                                time.Time
}

func (f *fact) says(word string) bool { return strings.Contains(f.control, word) }

// oracle is the origin, and knows what must not be served.
type oracle struct {
	mu       sync.Mutex // guards all below
	facts    []*fact
	next     []byte           // decides what the origin says
	versions map[string][]int // by path: the status of each version
	gone     map[string]int   // by place and query: versions before this one were made invalid by an unsafe request
	group    int              // answers before this number that are of the group are invalid
	fails    map[string]time.Time
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
	path := place(req)
	if req.Method == "POST" {
		return o.change(req, path), nil
	}
	mode := o.choose(8)
	if mode == 7 {
		o.fails[path] = time.Now()
		return nil, errOrigin
	}
	if len(o.versions[path]) == 0 || o.choose(6) == 5 {
		o.versions[path] = append(o.versions[path], statuses[o.choose(len(statuses))])
	}
	f := o.newFact(req, path)
	fields := fmt.Sprintf("Etag: %s\nX-Serial: %d\nCache-Control: %s\nVary: %s", f.tag(), f.number, f.control, f.vary)
	if f.grouped {
		fields += "\nCache-Groups: \"g\""
	}
	if f.anyQuery {
		fields += "\nNo-Vary-Search: params=(\"x\")"
	}
	if mode < 4 && f.status == 200 && matchesAny(req.Header["If-None-Match"], f.tag()) {
		f.cookie = "" // what it confirms was made for nobody in particular
		return reply(req, 304, fields, ""), nil
	}
	if f.setCookie = o.choose(6) == 5; f.setCookie {
		fields += "\nSet-Cookie: session=" + f.id
	}
	if isFailure(f.status) {
		o.fails[path] = time.Now()
	}
	body := f.body()
	res := o.ranged(req, reply(req, f.status, fields, body), body)
	if mode == 6 && res.ContentLength > 4 {
		res.Body = io.NopCloser(io.MultiReader(io.LimitReader(res.Body, 4), iotest.ErrReader(io.ErrUnexpectedEOF)))
	}
	return res, nil
}

// place is what tells what the origin has for a request: the path, and what a QUERY asks.
func place(req *http.Request) string {
	if req.Method != "QUERY" {
		return req.URL.Path
	}
	content, _ := req.GetBody()
	b, _ := io.ReadAll(content)
	return req.URL.Path + " " + string(b)
}

// change is what an unsafe request does: there is something else at its path, and
// sometimes all that is of the group is invalid.
func (o *oracle) change(req *http.Request, path string) *http.Response {
	for p := range o.versions {
		if p == path || strings.HasPrefix(p, path+" ") {
			o.versions[p] = append(o.versions[p], statuses[o.choose(len(statuses))])
			o.gone[p+"?"+req.URL.RawQuery] = len(o.versions[p]) - 1
		}
	}
	if o.choose(2) == 1 {
		o.group = len(o.facts)
		return reply(req, 200, "Cache-Group-Invalidation: \"g\"", "")
	}
	return reply(req, 200, "", "")
}

func (o *oracle) newFact(req *http.Request, path string) *fact {
	f := &fact{
		number: len(o.facts), version: len(o.versions[path]) - 1, made: time.Now(),
		id: req.Header.Get("X-Id"), path: path, query: req.URL.RawQuery,
		lang: req.Header.Get("X-Lang"), auth: req.Header.Get("Authorization"), cookie: req.Header.Get("Cookie"),
		control: saidControls[o.choose(len(saidControls))], vary: saidVary[o.choose(len(saidVary))],
		grouped: o.choose(3) == 2,
	}
	f.anyQuery = f.version%4 == 3 // an update leaves the field as it was
	f.status = o.versions[path][f.version]
	o.facts = append(o.facts, f)
	return f
}

func (f *fact) tag() string {
	return strconv.Quote(strings.ReplaceAll(f.path, " ", "") + strconv.Itoa(f.version))
}

// body differs in most places from that of other versions and paths.
func (f *fact) body() string {
	return strings.Repeat(strconv.Itoa(f.version)+f.path[1:]+".", 3+f.version%3) + "end"
}

// ranged lets an answer be the part that was asked for, most of the time.
func (o *oracle) ranged(req *http.Request, res *http.Response, body string) *http.Response {
	mood := o.choose(8)
	if res.StatusCode != 200 || mood == 0 {
		return res
	}
	part, _, v := wantedRange(http.Header{"Range": req.Header["Range"]}, nil, int64(len(body)), epoch)
	switch {
	case v == unsatisfiable:
		gone := reply(req, 416, "Cache-Control: max-age=60\nContent-Range: bytes */"+strconv.Itoa(len(body)), "")
		gone.Header["X-Serial"] = res.Header["X-Serial"]
		return gone
	case v != onePart:
		return res
	case mood == 1:
		part = span{0, 3} // something else than was asked for
	}
	res.StatusCode, res.ContentLength = 206, part.length
	res.Body = io.NopCloser(strings.NewReader(body[part.start:part.end()]))
	res.Header["Content-Range"] = []string{contentRange(part, int64(len(body)))}
	res.Header["Content-Length"] = []string{strconv.FormatInt(part.length, 10)}
	return res
}

// ofOneVersion checks that what came is of one version, and is the part of it that it is said to be.
func ofOneVersion(a *asked, f *fact) error {
	r, whole := a.result, f.body()
	switch {
	case a.req.Method == "HEAD":
		return nil
	case r.status == 206:
		part, total, ok := parseContentRange(r.header.Get("Content-Range"))
		if !ok || total != int64(len(whole)) || r.err == nil && r.body != whole[part.start:part.end()] ||
			!strings.HasPrefix(whole[part.start:], r.body) {
			return fmt.Errorf("%q with %q is not of %q", r.body, r.header.Get("Content-Range"), whole)
		}
	case r.status == 416 || r.status == 304:
	case !strings.HasPrefix(whole, r.body) || r.err == nil && r.body != whole:
		return fmt.Errorf("the body is %q, want %q (%w)", r.body, whole, r.err)
	}
	return nil
}

// asked is one request of a client.
type asked struct {
	req    *http.Request
	start  time.Time
	gone   int // versions before this one were invalid when it was asked
	group  int // answers of the group before this number, too
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
	n, err := strconv.Atoi(serial)
	if err != nil || n >= len(o.facts) {
		return fmt.Errorf("an answer %d without a serial (%w)", r.status, r.err)
	}
	f := o.facts[n]
	if f.path != place(a.req) {
		return fmt.Errorf("an answer for %s on a request for %s", f.path, place(a.req))
	}
	if err := ofOneVersion(a, f); err != nil {
		return err
	}
	if f.id == id {
		return nil // made for this very request
	}
	if why := o.neverReusable(f, a); why != "" {
		return fmt.Errorf("reused an answer %s: %+v", why, *f)
	}
	if !f.made.Before(a.start) {
		return nil // it came after this request
	}
	if f.version < a.gone || f.grouped && f.number < a.group {
		return fmt.Errorf("reused what was made invalid (before version %d, answer %d): %+v", a.gone, a.group, *f)
	}
	return o.freshEnough(f, a, a.start.Sub(f.made))
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
	case f.says("no-cache"):
		return "without asking for this request"
	case f.query != a.req.URL.RawQuery && !f.anyQuery:
		return "for another query"
	case f.setCookie && !public:
		return "with a client's cookie"
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
	lifetime, from := explicitLifetime(nil, readAnswerDirectives([]string{f.control}), epoch)
	if from == fromNothing {
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
		stale < f.errorWindow(cc, lifetime) && failed,
		!f.says("stale-while-revalidate") && stale < oraclePolicy.StaleWhileRevalidate.Std(),
		cc == "max-stale", cc == "max-stale=3" && stale <= 3*time.Second:
		return nil
	}
	return fmt.Errorf("stale for %v and nobody allowed it (origin failed %v, request %q): %+v", stale, failed, cc, *f)
}

// errorWindow is how long after its lifetime the answer may stand in for an error.
func (f *fact) errorWindow(cc string, lifetime time.Duration) time.Duration {
	said := oraclePolicy.StaleIfError.Std()
	switch {
	case f.says("stale-if-error"):
		said = 5 * time.Second
	case lifetime == 0 && !f.says("public"):
		said = 0
	}
	wish, ok := strings.CutPrefix(cc, "stale-if-error=")
	if !ok {
		return said
	}
	seconds, _ := strconv.Atoi(wish)
	if wished := time.Duration(seconds) * time.Second; lifetime > 0 || wished < said {
		return wished
	}
	return said
}

var oraclePolicy = selvage.Cache{
	TTL:                  selvage.Duration(7 * time.Second),
	StaleWhileRevalidate: selvage.Duration(2 * time.Second),
	StaleIfError:         selvage.Duration(20 * time.Second),
}

// play lets clients ask, as the bytes decide: a few at once, then time passes.
func play(t *testing.T, script []byte) {
	o := &oracle{versions: map[string][]int{}, gone: map[string]int{}, fails: map[string]time.Time{}}
	client := &oracle{next: script} // the clients' choices: all but the last third
	cut := len(script) * 2 / 3
	client.next, o.next = script[:cut], script[cut:]
	scope := shop
	scope.Policy = oraclePolicy
	e := newEdgeFor(t, scope, nil)
	e.next, e.asLies = o, true
	id := 0
	for len(client.next) > 0 {
		var running []<-chan result
		var all []*asked
		for range 1 + client.choose(3) {
			id++
			a := &asked{req: client.request(t, strconv.Itoa(id)), start: time.Now()}
			o.mu.Lock()
			a.gone, a.group = o.gone[place(a.req)+"?"+a.req.URL.RawQuery], o.group
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
	req := get(t, "http://shop.example"+[]string{"/a", "/b", "/a", "/b?x=1", "/b?x=2"}[o.choose(5)], "X-Id", id)
	req.Method = []string{"GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "QUERY"}[o.choose(9)]
	if req.Method == "QUERY" {
		withContent(req, []byte{'q', byte('0' + o.choose(2))})
	}
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
	if r := askedRange[o.choose(len(askedRange))]; r != "" {
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
