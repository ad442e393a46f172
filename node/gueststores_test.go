package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/state"
)

// guestOptions are the services behind a function, on a node with a store.
func guestOptions(t *testing.T, store *state.Store, yaml string) fastly.Options {
	t.Helper()
	conf := config.DefaultNode()
	conf.Name = "edge-1"
	n := &Node{tenant: selvage.DefaultTenant, state: *store, log: slog.New(slog.DiscardHandler), place: record.Place{Zone: "eu"}}
	fs := newFunctions(&functions{
		place: n.place, tenant: n.tenant, state: &n.state, log: n.log, onLimit: func(string) {}, rights: conf.Functions,
	}, "")
	t.Cleanup(fs.close)
	s, err := config.ParseService(filepath.Join(t.TempDir(), "test.yaml"), []byte(strings.ReplaceAll(yaml, "FILE", good(t, "good", "x"))))
	if err != nil {
		t.Fatal(err)
	}
	o, err := fs.fastlyOptions(&s, "f", true)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

const storingService = `service: test
hosts: ["*"]
functions:
  f:
    module: FILE
    kv: [carts, empty]
    kv_initial: {carts: {welcome: {text: hello, metadata: m}}}
    acls: {list: {block: [192.0.2.0/24], allow: [192.0.2.7]}}
    places: {192.0.2.9: '{"city":"Bern"}'}
    devices: {phone/1: '{"device":{"is_mobile":true}}'}
routes: [{match: {path: /*}, function: f}]
`

func kvValue(t *testing.T, o fastly.Options, store, key string) string {
	t.Helper()
	kv, ok := o.KV(store)
	if !ok {
		t.Fatalf("there is no store %s", store)
	}
	v, err := kv.Lookup(t.Context(), key)
	if err != nil {
		return err.Error()
	}
	return string(v.Body) + v.Metadata
}

func TestKVStoresAreOfAllNodesAndOutliveThem(t *testing.T) {
	folder := t.TempDir()
	for start := range 2 {
		durable, err := state.Open(state.Options{Folder: folder, Limits: state.EdgeLimits(nil)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- durable.Run(ctx) }() // waited for below
		store := durable.Store()
		one, two := guestOptions(t, &store, storingService), guestOptions(t, &store, storingService)
		want := "hellom"
		if start > 0 {
			want = "changed"
		}
		expect(t, "what was there", kvValue(t, one, "carts", "welcome"), want)
		kv, _ := two.KV("carts")
		if err := kv.Insert(t.Context(), "welcome", fastly.KVInsert{Body: []byte("changed")}); err != nil {
			t.Fatal(err)
		}
		expect(t, "what another node wrote", kvValue(t, one, "carts", "welcome"), "changed")
		expect(t, "another store", kvValue(t, one, "empty", "welcome"), "not found")
		if _, ok := one.KV("other"); ok {
			t.Error("a store that is not the function's is open to it")
		}
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func TestAFunctionFindsItsListsPlacesAndDevices(t *testing.T) {
	store := state.Memory(state.EdgeLimits(nil))
	o := guestOptions(t, &store, storingService)
	list, ok := o.ACLs("list")
	if !ok {
		t.Fatal("there is no list")
	}
	for address, want := range map[string]string{"192.0.2.1": "BLOCK", "192.0.2.7": "ALLOW", "198.51.100.1": ""} {
		entry, _ := list.Match(netip.MustParseAddr(address))
		expect(t, address, entry.Action, want)
	}
	place, _ := o.Geo(netip.MustParseAddr("192.0.2.9"))
	expect(t, "place", place.City, "Bern")
	device, _ := o.Device("phone/1")
	expect(t, "device", string(device), `{"device":{"is_mobile":true}}`)
	expect(t, "region", o.Region, "eu")
}

// sends is a program that sends the client's request on to the backend web, and
// the answer back. The text before says what else it wants.
func sends(t testing.TB, name, text string) string {
	return textGuest(t, name, `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_req cache_override_v2_set $override i32,i32,i32,i32,i32,i32 -> i32
import fastly_http_req send $fetch i32,i32,i32,i32,i32,i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
memory 2
data 1024 "webmenu"
func $_start export=_start
	i32.const 0 / i32.const 4 / call $get / drop
`+text+`
	i32.const 0 / i32.load / i32.const 4 / i32.load / i32.const 1024 / i32.const 3 / i32.const 8 / i32.const 12 / call $fetch / drop
	i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 0 / call $send / drop
endfunc
`)
}

const sendingService = `service: test
hosts: ["*"]
origins: {web: {endpoints: [ORIGIN]}}
functions: {plain: {module: FILE(plain)}, minute: {module: FILE(minute)}, pass: {module: FILE(pass)}}
routes:
  - {match: {path: /plain}, function: plain, origin: web, cache: {}}
  - {match: {path: /minute}, function: minute, origin: web, cache: {}}
  - {match: {path: /pass}, function: pass, origin: web, cache: {ttl: 1m}}
`

func TestAFunctionsFetchIsCachedAsItSays(t *testing.T) {
	const override = "i32.const 0 / i32.load / i32.const %d / i32.const 60 / i32.const 0 / i32.const 1027 / i32.const %d / call $override / drop"
	var n atomic.Int64
	b := serveGuests(t, sendingService, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, n.Add(1)) }, map[string]string{
		"plain": sends(t, "plain", ""), "minute": sends(t, "minute", fmt.Sprintf(override, 2, 4)), "pass": sends(t, "pass", fmt.Sprintf(override, 1, 0)),
	})
	expect(t, "without a word", b.get("/plain"), "200 1")
	expect(t, "without a word", b.get("/plain"), "200 2")
	expect(t, "for a minute", b.get("/minute"), "200 3")
	expect(t, "for a minute", b.get("/minute"), "200 3")
	expect(t, "past the cache", b.get("/pass"), "200 4")
	expect(t, "past the cache", b.get("/pass"), "200 5")
	b.purge("tag:menu")
	expect(t, "after a purge of its key", b.get("/minute"), "200 6")
	for _, c := range []struct{ path, want string }{{"/minute", "HIT"}, {"/plain", "MISS"}, {"/pass", ""}} {
		b.get(c.path)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.example"
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Header.Get("X-Cache"); got != c.want {
			t.Errorf("%s: the function was told %q, want %q", c.path, got, c.want)
		}
	}
}

// purge purges as an operator does.
func (b *guestBed) purge(what string) {
	b.t.Helper()
	p, err := b.node.Purge(b.t.Context(), client.PurgeRequest{What: []string{what}, WaitMS: int(time.Minute.Milliseconds())}, "test")
	if err != nil || !p.Complete {
		b.t.Fatalf("purge %s: %+v, %v", what, p, err)
	}
}

// keeps is a program that keeps an object with the surrogate key menu in the core
// cache, and says whether it was there. With /purge it purges the key instead.
func keeps(t testing.TB) string {
	return textGuest(t, "keeps", `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_req method_get $method i32,i32,i32,i32 -> i32
import fastly_cache lookup $lookup i32,i32,i32,i32,i32 -> i32
import fastly_cache get_state $state i32,i32 -> i32
import fastly_cache insert $insert i32,i32,i32,i32,i32 -> i32
import fastly_purge purge_surrogate_key $purge i32,i32,i32,i32 -> i32
import fastly_http_resp new $resp i32 -> i32
import fastly_http_body new $body i32 -> i32
import fastly_http_body close $close i32 -> i32
import fastly_http_body write $write i32,i32,i32,i32,i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
memory 2
data 1024 "menuhitmiss"
func $_start export=_start locals=i32,i32
	i32.const 0 / i32.const 4 / call $get / drop
	i32.const 1 / local.set 1
	i32.const 0 / i32.load / i32.const 512 / i32.const 16 / i32.const 508 / call $method / drop
	i32.const 512 / i32.load8_u / i32.const 80 / i32.eq
	if
		i32.const 1024 / i32.const 4 / i32.const 0 / i32.const 0 / call $purge / local.set 1
	else
		i32.const 1024 / i32.const 4 / i32.const 0 / i32.const 0 / i32.const 16 / call $lookup / drop
		i32.const 16 / i32.load / i32.const 20 / call $state / drop
		i32.const 20 / i32.load / i32.const 1 / i32.and / i32.eqz
		if
			i32.const 64 / i64.const 60000000000 / i64.store
			i32.const 104 / i32.const 1024 / i32.store
			i32.const 108 / i32.const 4 / i32.store
			i32.const 1024 / i32.const 4 / i32.const 32 / i32.const 64 / i32.const 24 / call $insert / drop
			i32.const 24 / i32.load / call $close / drop
			i32.const 1031 / local.set 0
		else
			i32.const 1028 / local.set 0
		end
	end
	i32.const 8 / call $resp / drop
	i32.const 12 / call $body / drop
	local.get 1
	if
		i32.const 12 / i32.load / local.get 0 / i32.const 3 / i32.const 0 / i32.const 16 / call $write / drop
	end
	i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 0 / call $send / drop
endfunc
`)
}

const keepingService = `service: test
hosts: ["*"]
origins: {web: {endpoints: [ORIGIN]}}
functions: {keeps: {module: FILE(keeps)}}
routes:
  - {match: {path: /keeps}, function: keeps}
  - {match: {path: /*}, origin: web, cache: {ttl: 1m}}
`

func TestPurgesReachTheEdgeFromFunctionsAndFunctionsFromTheEdge(t *testing.T) {
	var n atomic.Int64
	b := serveGuests(t, keepingService, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Surrogate-Key", "menu")
		fmt.Fprint(w, n.Add(1))
	}, map[string]string{"keeps": keeps(t)})
	for _, purge := range []func(){
		func() { b.purge("tag:menu") },
		func() { b.purge("service:test") },
		func() { expect(t, "the function's purge", b.do(http.MethodPost, "/keeps", ""), "200 ") },
	} {
		before := n.Load()
		expect(t, "what the function keeps", b.get("/keeps"), "200 mis")
		expect(t, "what the function keeps", b.get("/keeps"), "200 hit")
		for range 2 {
			expect(t, "what the edge has", b.get("/page"), fmt.Sprint("200 ", before+1))
		}
		purge()
		expect(t, "what the function keeps, after", b.get("/keeps"), "200 mis")
		expect(t, "what the edge has, after", b.get("/page"), fmt.Sprint("200 ", before+2))
		b.purge("service:test")
	}
	head, err := b.node.state.Feeds.Head(context.Background(), b.node.purgeKey())
	if err != nil || head.Last != 6 {
		t.Errorf("the feed of purges is at %d, %v", head.Last, err)
	}
}
