package cache

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// purgeOracle is an origin that knows when each of its answers was asked for,
// and when each purge began and was done. One counter orders all of it.
type purgeOracle struct {
	clock atomic.Int64
	delay time.Duration // the longest

	mu        sync.Mutex // guards all below
	random    *rand.Rand
	given     []givenBody      // by serial
	version   map[string]int   // by path
	confirmed map[string]int64 // by path: when the origin was asked for its last confirmation
	purges    []donePurge
}

// givenBody is one body that the origin gave.
type givenBody struct {
	asked   int64 // when
	version int   // of the path
	odd     string
}

// donePurge is a purge that has returned.
type donePurge struct {
	began, done int64
	soft        bool
	means       func(u *url.URL) bool
	odd         string // what has this tag, too
	words       string
}

// What there is. Every path has tags and a group; all rules for keys drop utm.
var (
	oraclePaths   = []string{"/a", "/b", "/c"}
	oracleQueries = []string{"", "?x=1", "?x=1&utm=2", "?utm=3"}
)

func oracleTags(path string) []string { return []string{"all", "tag-" + path[1:]} }

func (o *purgeOracle) n(n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.random.IntN(n)
}

// RoundTrip implements http.RoundTripper.
func (o *purgeOracle) RoundTrip(req *http.Request) (*http.Response, error) {
	asked := o.clock.Add(1)
	if o.delay > 0 {
		time.Sleep(time.Duration(o.n(int(o.delay))))
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	path := req.URL.Path
	fields := fmt.Sprintf("Cache-Control: max-age=%d\nVary: X-Lang\nCache-Groups: \"group-%s\"", 1+o.random.IntN(20), path[1:])
	if path == "/c" {
		fields += "\nNo-Vary-Search: params=(\"utm\")"
	}
	mode := o.random.IntN(10)
	switch {
	case req.Method == http.MethodPost:
		return reply(req, 200, fmt.Sprintf("Cache-Group-Invalidation: \"group-%s\"", path[1:]), ""), nil
	case mode == 0:
		return nil, errOrigin
	case mode == 1:
		return reply(req, 503, "", "down"), nil
	}
	if o.random.IntN(40) == 0 {
		o.version[path]++
	}
	tag := fmt.Sprintf("\"%s-%d\"", path[1:], o.version[path])
	fields = "Etag: " + tag + "\n" + fields
	if req.Header.Get("If-None-Match") == tag && mode < 6 {
		o.confirmed[path] = max(o.confirmed[path], asked) // they may come in another order than they were asked for
		return reply(req, 304, fields, ""), nil
	}
	odd := "odd-" + strconv.Itoa(o.random.IntN(4))
	if req.Method != http.MethodHead { // what that or a 304 says of tags would take their place
		fields += o.tagField(path, odd)
	}
	serial := len(o.given)
	o.given = append(o.given, givenBody{asked, o.version[path], odd})
	body := strings.Repeat(fmt.Sprintf("%0*d;", oracleStamp-1, serial), oracleStamps)
	var from, to int
	if _, err := fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-%d", &from, &to); err == nil && mode < 8 && from < len(body) {
		to = min(to, len(body)-1)
		part := reply(req, 206, fields, body[from:to+1])
		part.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(body)))
		return o.maybeCut(part), nil
	}
	return o.maybeCut(reply(req, 200, fields, body)), nil
}

// tagField says the tags in one of three ways.
func (o *purgeOracle) tagField(path, odd string) string {
	tags := append(oracleTags(path), odd)
	switch o.random.IntN(3) {
	case 0:
		return "\nSurrogate-Key: " + strings.Join(tags, " ")
	case 1:
		return "\nCache-Tag: " + strings.Join(tags, ",")
	}
	return "\nX-Tags: " + strings.Join(tags, ", ")
}

// maybeCut breaks some answers off before their end, between two stamps.
func (o *purgeOracle) maybeCut(res *http.Response) *http.Response {
	if o.random.IntN(10) == 0 {
		res.Body = io.NopCloser(io.LimitReader(res.Body, int64(oracleStamp*o.random.IntN(oracleStamps))))
	}
	return res
}

// A body is oracleStamps times the number of the request that it was asked for
// by, so that whatever is put together tells of all its parts.
const oracleStamp, oracleStamps = 7, 40

// stamps are the numbers in a body, or in a part of one.
func stamps(body string) (serials []int) {
	for stamp := range strings.SplitSeq(body, ";") {
		if serial, err := strconv.Atoi(stamp); err == nil && len(stamp) == oracleStamp-1 {
			serials = append(serials, serial)
		}
	}
	return slices.Compact(serials)
}

// judge says what is wrong with an answer to a request that began at a moment.
func (o *purgeOracle) judge(req *http.Request, began int64, r result) error {
	if r.err != nil || r.status != 200 && r.status != 206 || req.Method == http.MethodHead {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	fresh := strings.Contains(r.cacheStatus(), "hit") && !strings.Contains(r.cacheStatus(), "detail=")
	serials := stamps(r.body)
	for _, serial := range serials {
		if a, b := o.given[serial], o.given[serials[0]]; a.version != b.version {
			return fmt.Errorf("it is of version %d and of version %d", a.version, b.version)
		}
		for _, p := range slices.Backward(o.purges) {
			if p.done <= began && (p.odd == o.given[serial].odd || p.means != nil && p.means(req.URL)) {
				if err := o.outlives(serial, &p, req.URL.Path, fresh); err != nil {
					return fmt.Errorf("%w, to who asked at %d", err, began)
				}
			}
		}
	}
	return nil
}

// outlives says what is wrong where a body is given in spite of a purge.
func (o *purgeOracle) outlives(serial int, p *donePurge, path string, fresh bool) error {
	asked := o.given[serial].asked
	if !p.soft && asked < p.began {
		return fmt.Errorf("asked for at %d, purged at %d by %s, and given", asked, p.began, p.words)
	}
	if sure := max(asked, o.confirmed[path]); p.soft && fresh && sure < p.began {
		return fmt.Errorf("confirmed at %d, softly purged at %d by %s, and given as fresh", sure, p.began, p.words)
	}
	return nil
}

// purge purges something by chance and notes when.
func (o *purgeOracle) purge(store *Store) {
	p := Purge{Tenant: shop.Tenant, Service: shop.Service, Soft: o.n(3) == 0}
	path := oraclePaths[o.n(len(oraclePaths))]
	d := donePurge{soft: p.Soft}
	kind := o.n(12)
	switch {
	case kind < 5:
		tag := oracleTags(path)[1]
		switch kind {
		case 0:
			tag = "all"
		case 1, 2:
			tag = "odd-" + strconv.Itoa(o.n(4))
			d.odd = tag
		}
		p.Tags = []selvage.Tag{selvage.Tag(tag)}
		d.words = "tag " + tag
		d.means = func(u *url.URL) bool { return slices.Contains(oracleTags(u.Path), tag) }
	case kind < 10:
		u, _ := url.Parse("https://shop.example" + path + oracleQueries[o.n(len(oracleQueries))])
		p.URLs = []*url.URL{u}
		d.words = "URL " + u.String()
		d.means = func(asked *url.URL) bool { return asked.Path == path && asked.RawQuery == u.RawQuery }
	case kind == 10:
		p.All = true
		d.words, d.means = "service", func(*url.URL) bool { return true }
	default:
		d.soft, d.words, d.means = false, "a new incarnation", func(*url.URL) bool { return true }
	}
	d.began = o.clock.Add(1)
	if kind == 11 {
		store.Forget()
	} else {
		store.Purge(p)
	}
	o.done(d)
}

func (o *purgeOracle) done(d donePurge) {
	d.done = o.clock.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.purges = append(o.purges, d)
}

// act does one thing by chance through one of the transports.
func (o *purgeOracle) act(t *testing.T, e *edge) error {
	if o.n(6) == 0 {
		o.purge(e.store)
		return nil
	}
	path := oraclePaths[o.n(len(oraclePaths))]
	scheme := []string{"http", "https"}[o.n(6)/5]
	req := get(t, scheme+"://shop.example"+path+oracleQueries[o.n(2)*o.n(len(oracleQueries))], "X-Lang", []string{"de", "fr"}[o.n(6)/5], "X-Plan", strconv.Itoa(o.n(6)/5))
	req.Method = []string{"GET", "GET", "GET", "GET", "GET", "QUERY", "HEAD", "POST"}[o.n(8)]
	if f := []string{"", "", "", "Cache-Control: no-cache", "Cache-Control: max-stale", "Range: bytes=0-69", "Range: bytes=70-139", "Range: bytes=140-279", "If-None-Match: \"a-1\"", "Cache-Control: only-if-cached"}[o.n(10)]; f != "" {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Set(name, value)
	}
	began := o.clock.Add(1)
	r := e.do(req)
	if req.Method == http.MethodPost {
		if r.err == nil && r.status == 200 { // it has ended the group of its origin
			o.done(donePurge{began: began, words: "group", means: func(u *url.URL) bool { return u.Path == path && u.Scheme == scheme }})
		}
		return nil
	}
	if err := o.judge(req, began, r); err != nil {
		return fmt.Errorf("%s %s %v\ngot %d %q with %q\n%w", req.Method, req.URL, req.Header, r.status, r.body, r.cacheStatus(), err)
	}
	return nil
}

// oracleEdges are revisions of a service on one store, without and with rules for
// keys. Half of them fetch by slices that are a quarter of a body.
func oracleEdges(t *testing.T, o *purgeOracle) []*edge {
	scope := shop
	scope.Policy = selvage.Cache{
		TTL: selvage.Duration(10 * time.Second), StaleWhileRevalidate: selvage.Duration(5 * time.Second), StaleIfError: selvage.Duration(time.Minute),
		Tags: selvage.CacheTags{Header: "X-Tags"},
	}
	store := NewStore(4 << 20)
	t.Cleanup(store.Close)
	ruled := scope
	ruled.Policy.Key = &selvage.CacheKey{Headers: []string{"X-Plan"}, Query: &selvage.QueryRules{Drop: []string{"utm"}, Sort: true}}
	var edges []*edge
	for _, s := range []Scope{scope, ruled} {
		sliced := s
		sliced.Policy.MaxBody = oracleStamp * oracleStamps / 4
		edges = append(edges, &edge{Transport: NewTransport(store, s, o), t: t, asLies: true}, &edge{Transport: NewTransport(store, sliced, o), t: t})
	}
	return edges
}

// TestNothingAskedForBeforeAHardPurgeIsServedAfterIt: fetches, stores, purges,
// refreshes, parts that are combined, HEAD, POST, QUERY, groups, failures, new incarnations of the
// feed and restarts in a random order, and an oracle that knows what must not be served.
func TestNothingAskedForBeforeAHardPurgeIsServedAfterIt(t *testing.T) {
	for range 40 {
		seed := rand.Uint64()
		onVirtualTime(t, func(t *testing.T) {
			o := &purgeOracle{version: map[string]int{}, confirmed: map[string]int64{}, random: rand.New(rand.NewPCG(seed, 1)), delay: 2 * time.Second}
			for range 3 { // lives of the process: each begins with nothing, and ends with what is under way
				edges := oracleEdges(t, o)
				var clients sync.WaitGroup
				for range 6 {
					clients.Go(func() {
						for range 20 {
							if err := o.act(t, edges[o.n(len(edges))]); err != nil {
								t.Error(err)
							}
							time.Sleep(time.Duration(o.n(int(time.Second))))
						}
					})
				}
				clients.Wait()
				edges[0].store.Close()
				edges[0].store.check(t)
				edges[0].store.checkSent(t)
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// The same on real time, for the race detector: as much at once as there can be.
func TestPurgesRaceWithEverythingElse(t *testing.T) {
	seed := rand.Uint64()
	o := &purgeOracle{version: map[string]int{}, confirmed: map[string]int64{}, random: rand.New(rand.NewPCG(seed, 1))}
	edges := oracleEdges(t, o)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 500 {
				if err := o.act(t, edges[o.n(len(edges))]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	edges[0].store.Close()
	edges[0].store.check(t)
	edges[0].store.checkSent(t)
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}
