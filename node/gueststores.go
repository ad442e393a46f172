package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/compute/abi/fastly/kvstate"
)

// guestStores is what the functions of a service share and remember. Objects and
// rates are in memory, bounded by themselves; KV stores are in the state.
type guestStores struct {
	objects fastly.Objects
	rates   fastly.Rates
	room    kvstate.Room
	kv      map[string]*kvstate.Store // guarded by functions.mu
}

// storesOf are the stores of a service, made when it first has functions.
func (fs *functions) storesOf(service selvage.ServiceName) *guestStores {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	g := fs.stores[service]
	if g == nil {
		g = &guestStores{kv: make(map[string]*kvstate.Store)}
		g.objects.OnLimit, g.room.OnLimit = fs.onLimit, fs.onLimit
		fs.stores[service] = g
	}
	return g
}

// kvOf is a KV store of a service.
func (fs *functions) kvOf(service selvage.ServiceName, name string) *kvstate.Store {
	g := fs.storesOf(service)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if g.kv[name] == nil {
		g.kv[name] = kvstate.New(fs.state, &g.room, fs.tenant, service, name)
	}
	return g.kv[name]
}

// kvStores are the KV stores that a function may use. Those that have something at
// first are filled when they are first asked. renew: see [kvstate.Store.Fill].
func (fs *functions) kvStores(s *selvage.Service, f *selvage.Function, renew bool) func(string) (fastly.KV, bool) {
	all := make(map[string]fastly.KV, len(f.KV))
	for _, name := range f.KV {
		kv := fs.kvOf(s.Service, name)
		all[name] = kv
		if first := f.KVInitial[name]; len(first) > 0 {
			filled := &filledKV{Store: kv, first: make(map[string]fastly.KVInsert, len(first)), renew: renew}
			for key, e := range first {
				filled.first[key] = fastly.KVInsert{Body: e.Value(), Metadata: e.Metadata}
			}
			all[name] = filled
		}
	}
	return func(name string) (fastly.KV, bool) {
		kv, ok := all[name]
		return kv, ok
	}
}

// filledKV is a KV store that is filled before it is first asked.
type filledKV struct {
	*kvstate.Store
	renew bool

	mu    sync.Mutex
	first map[string]fastly.KVInsert // guarded by mu; nil once it is filled
}

// fill fills the store, if that is still to be done. Others wait for it: that is
// what the lock is for.
func (k *filledKV) fill(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.first == nil {
		return nil
	}
	err := k.Fill(ctx, k.first, k.renew)
	if err == nil {
		k.first = nil
	}
	return err
}

// Lookup implements [fastly.KV].
func (k *filledKV) Lookup(ctx context.Context, key string) (fastly.KVValue, error) {
	if err := k.fill(ctx); err != nil {
		return fastly.KVValue{}, err
	}
	return k.Store.Lookup(ctx, key)
}

// Insert implements [fastly.KV].
func (k *filledKV) Insert(ctx context.Context, key string, v fastly.KVInsert) error {
	if err := k.fill(ctx); err != nil {
		return err
	}
	return k.Store.Insert(ctx, key, v)
}

// Delete implements [fastly.KV].
func (k *filledKV) Delete(ctx context.Context, key string) error {
	if err := k.fill(ctx); err != nil {
		return err
	}
	return k.Store.Delete(ctx, key)
}

// List implements [fastly.KV].
func (k *filledKV) List(ctx context.Context, l fastly.KVList) (fastly.KVPage, error) {
	if err := k.fill(ctx); err != nil {
		return fastly.KVPage{}, err
	}
	return k.Store.List(ctx, l)
}

// sweepEvery is how often KV stores are looked through for entries whose time is over.
const sweepEvery = time.Hour

// sweep removes entries of KV stores whose time is over, until ctx ends. What cannot
// be removed stays until the next time.
func (fs *functions) sweep(ctx context.Context) error {
	every(ctx, sweepEvery, func() {
		for _, kv := range fs.allKV() {
			if err := kv.Sweep(ctx); err != nil && ctx.Err() == nil {
				fs.log.Warn("a KV store cannot be swept", "error", err)
			}
		}
	})
	return nil
}

func (fs *functions) allKV() (all []*kvstate.Store) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, g := range fs.stores {
		all = slices.AppendSeq(all, maps.Values(g.kv))
	}
	return all
}

// purge makes unusable, or stale, what caches of functions hold.
func (fs *functions) purge(p *cache.Purge) {
	fs.mu.Lock()
	g := fs.stores[p.Service]
	fs.mu.Unlock()
	if g == nil || p.Tenant != fs.tenant {
		return
	}
	if p.All {
		g.objects.PurgeAll(p.Soft)
	}
	for _, tag := range p.Tags {
		g.objects.Purge(string(tag), p.Soft)
	}
	for _, u := range p.URLs {
		for _, scheme := range []string{"http", "https"} {
			one := *u
			one.Scheme = scheme
			g.objects.PurgeURL(one.String(), p.Soft)
		}
	}
}

// forget drops all that caches of functions hold: nobody knows what was purged.
func (fs *functions) forget() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, g := range fs.stores {
		g.objects.PurgeAll(false)
	}
}

// aclsOf are the access control lists of a function.
func aclsOf(f *selvage.Function) (func(string) (fastly.ACL, bool), error) {
	all := make(map[string]fastly.Prefixes, len(f.ACLs))
	for name, l := range f.ACLs {
		entries, err := l.Entries()
		if err != nil {
			return nil, fmt.Errorf("access control list %q: %w", name, err)
		}
		byPrefix := make(map[netip.Prefix]string)
		for _, e := range entries {
			if e.Op == "delete" {
				delete(byPrefix, e.Prefix.Masked())
				continue
			}
			byPrefix[e.Prefix.Masked()] = strings.ToUpper(e.Action)
		}
		for _, p := range l.Allow {
			byPrefix[p.Masked()] = "ALLOW"
		}
		for _, p := range l.Block {
			byPrefix[p.Masked()] = "BLOCK" // who is in both is blocked
		}
		list := make(fastly.Prefixes, 0, len(byPrefix))
		for prefix, action := range byPrefix {
			list = append(list, fastly.ACLEntry{Prefix: prefix, Action: action})
		}
		slices.SortFunc(list, func(a, b fastly.ACLEntry) int { return cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()) })
		all[name] = list
	}
	return func(name string) (fastly.ACL, bool) {
		list, ok := all[name]
		return list, ok
	}, nil
}

// placesOf says where addresses are: what the function's own table has, then what
// the node's databases know.
func (fs *functions) placesOf(f *selvage.Function) (func(netip.Addr) (fastly.Place, bool), error) {
	own := make(map[netip.Addr]fastly.Place, len(f.Places))
	for text, object := range f.Places {
		a, err := netip.ParseAddr(text)
		var place fastly.Place
		if err == nil {
			err = json.Unmarshal([]byte(object), &place)
		}
		if err != nil {
			return nil, fmt.Errorf("place of %s: %w", text, err)
		}
		own[a.Unmap()] = place
	}
	return func(a netip.Addr) (fastly.Place, bool) {
		if place, ok := own[a]; ok {
			return place, true
		}
		return fs.geo.Find(a)
	}, nil
}

func devicesOf(f *selvage.Function) func(string) ([]byte, bool) {
	return func(agent string) ([]byte, bool) {
		text, ok := f.Devices[agent]
		return []byte(text), ok
	}
}
