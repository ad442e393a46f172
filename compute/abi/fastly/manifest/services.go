package manifest

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/selvage-edge/selvage/compute/abi/fastly"
)

// Backend is an origin as a function sees it.
func (m *Manifest) Backend(name string) (fastly.Backend, bool) {
	b, ok := m.Backends[name]
	if !ok {
		return fastly.Backend{}, false
	}
	port := 80
	if b.URL.Scheme == "https" {
		port = 443
	}
	if n, err := strconv.ParseUint(b.URL.Port(), 10, 16); err == nil {
		port = int(n)
	}
	return fastly.Backend{
		Host: b.URL.Hostname(), Port: uint16(port), TLS: b.URL.Scheme == "https", OverrideHost: b.OverrideHost, Health: b.Health,
	}, true
}

// Fill makes the services of a function of what a manifest says. KV stores are
// in memory and begin with what is written there.
func (m *Manifest) Fill(ctx context.Context, o *fastly.Options) error {
	o.Backends = m
	o.Configs = values(m.Configs)
	o.Secrets = values(m.Secrets)
	o.ACLs = func(name string) (fastly.ACL, bool) {
		list, ok := m.ACLs[name]
		return list, ok
	}
	o.Geo = func(a netip.Addr) (fastly.Place, bool) {
		place, ok := m.Places[a]
		return place, ok
	}
	o.Device = func(agent string) ([]byte, bool) {
		text, ok := m.Devices[agent]
		return text, ok
	}
	stores := map[string]*fastly.MemoryKV{}
	for name, entries := range m.KV {
		stores[name] = &fastly.MemoryKV{Bytes: maxFiles}
		for key, v := range entries {
			if err := stores[name].Insert(ctx, key, v); err != nil {
				return fmt.Errorf("fill KV store %q: key %q: %w", name, key, err)
			}
		}
	}
	o.KV = func(name string) (fastly.KV, bool) {
		store, ok := stores[name]
		return store, ok
	}
	return nil
}

func values(stores map[string]fastly.Map) func(string) (fastly.Values, bool) {
	return func(name string) (fastly.Values, bool) {
		store, ok := stores[name]
		return store, ok
	}
}
