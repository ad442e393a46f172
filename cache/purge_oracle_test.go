package cache

import (
	"fmt"
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

	mu     sync.Mutex // guards all below
	random *rand.Rand
	asked  []int64 // of each serial: when the origin was asked for it
	sure   []int64 // of each serial: when the origin was asked to confirm it last
	purges []donePurge
}

// donePurge is a purge that has returned.
type donePurge struct {
	began, done int64
	soft        bool
	means       func(u *url.URL) bool
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
	switch o.random.IntN(3) {
	case 0:
		fields += "\nSurrogate-Key: " + strings.Join(oracleTags(path), " ")
	case 1:
		fields += "\nCache-Tag: " + strings.Join(oracleTags(path), ",")
	default:
		fields += "\nX-Tags: " + strings.Join(oracleTags(path), ", ")
	}
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
	if tag := strings.Trim(req.Header.Get("If-None-Match"), `"`); tag != "" && mode < 6 {
		if serial, err := strconv.Atoi(tag); err == nil && serial < len(o.sure) {
			o.sure[serial] = asked
			return reply(req, 304, "Etag: \""+tag+"\"\n"+fields, ""), nil
		}
	}
	serial := len(o.asked) - 1
	if req.Method != http.MethodHead || serial < 0 || mode < 6 { // a HEAD may speak of what was given out before
		serial++
		o.asked, o.sure = append(o.asked, asked), append(o.sure, asked)
	}
	return reply(req, 200, fmt.Sprintf("Etag: \"%d\"\n%s", serial, fields), fmt.Sprintf("%06d body of %s", serial, path)), nil
}

// judge says what is wrong with an answer to a request that began at a moment.
func (o *purgeOracle) judge(req *http.Request, began int64, r result) error {
	if r.err != nil || r.status != 200 || len(r.body) < 6 || req.Method == http.MethodHead {
		return nil
	}
	serial, err := strconv.Atoi(r.body[:6])
	if err != nil {
		return nil // down
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range slices.Backward(o.purges) {
		if p.done > began || !p.means(req.URL) {
			continue
		}
		if !p.soft && o.asked[serial] < p.began {
			return fmt.Errorf("asked for at %d, purged at %d by %s, and given to who asked at %d", o.asked[serial], p.began, p.words, began)
		}
		fresh := strings.Contains(r.cacheStatus(), "hit") && !strings.Contains(r.cacheStatus(), "detail=")
		if p.soft && fresh && o.sure[serial] < p.began {
			return fmt.Errorf("confirmed at %d, softly purged at %d by %s, and given as fresh to who asked at %d", o.sure[serial], p.began, p.words, began)
		}
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
		if kind == 0 {
			tag = "all"
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
	scheme := []string{"http", "https"}[o.n(2)]
	req := get(t, scheme+"://shop.example"+path+oracleQueries[o.n(len(oracleQueries))], "X-Lang", []string{"de", "fr"}[o.n(2)], "X-Plan", strconv.Itoa(o.n(2)))
	req.Method = []string{"GET", "GET", "GET", "GET", "GET", "QUERY", "HEAD", "POST"}[o.n(8)]
	if f := []string{"", "", "", "Cache-Control: no-cache", "Cache-Control: max-stale", "Range: bytes=0-9", "If-None-Match: \"3\"", "Cache-Control: only-if-cached"}[o.n(8)]; f != "" {
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

// oracleEdges are two revisions of a service on one store: one with rules for keys.
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
	return []*edge{{NewTransport(store, scope, o), t, nil}, {NewTransport(store, ruled, o), t, nil}}
}

// TestNothingAskedForBeforeAHardPurgeIsServedAfterIt: fetches, stores, purges,
// refreshes, ranges, HEAD, POST, QUERY, groups, failures and new incarnations of the feed in a
// random order, and an oracle that knows what must not be served.
func TestNothingAskedForBeforeAHardPurgeIsServedAfterIt(t *testing.T) {
	for range 80 {
		seed := rand.Uint64()
		onVirtualTime(t, func(t *testing.T) {
			o := &purgeOracle{random: rand.New(rand.NewPCG(seed, 1)), delay: 4 * time.Second}
			edges := oracleEdges(t, o)
			var clients sync.WaitGroup
			for range 6 {
				clients.Go(func() {
					for range 60 {
						if err := o.act(t, edges[o.n(2)]); err != nil {
							t.Error(err)
						}
						time.Sleep(time.Duration(o.n(int(2 * time.Second))))
					}
				})
			}
			clients.Wait()
			edges[0].store.Close()
			edges[0].store.check(t)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// The same on real time, for the race detector: as much at once as there can be.
func TestPurgesRaceWithEverythingElse(t *testing.T) {
	seed := rand.Uint64()
	o := &purgeOracle{random: rand.New(rand.NewPCG(seed, 1))}
	edges := oracleEdges(t, o)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 800 {
				if err := o.act(t, edges[o.n(2)]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	edges[0].store.Close()
	edges[0].store.check(t)
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}
