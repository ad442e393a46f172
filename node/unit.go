package node

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/route"
)

// units tells the units of a rollout apart: clients by their address, the /56
// in IPv6, or by the cookie that says which one they had, or keys by their path, or
// draws of an endpoint, which have no name. The hash is one block of a cipher under
// the rollout's secret: who does not have it cannot choose an arm.
type units struct {
	block cipher.Block
	by    selvage.Unit
}

// unitBits6 is the prefix of an address in IPv6 that is one unit. In IPv4 it is the address.
const unitBits6 = 56

// place is that of a path in the order of keys.
func (u *units) place(path string) uint64 {
	sum := sha256.Sum256([]byte(path))
	u.block.Encrypt(sum[:16], sum[:16])
	return binary.BigEndian.Uint64(sum[:8])
}

// hash is the unit's place in the order of units, and the client as a number
// that says nothing of who it is.
func (u *units) hash(x *exchange) (place, client uint64) {
	x.unit = x.clientUnit()
	u.block.Encrypt(x.unit[:], x.unit[:])
	place, client = binary.BigEndian.Uint64(x.unit[:8]), binary.BigEndian.Uint64(x.unit[8:])
	switch u.by {
	case selvage.ByKey:
		place = u.place(x.path)
	case selvage.ByEndpoint: // each request draws from one set of weights or the other
		place = rand.Uint64()
	}
	return place, client
}

func unitOf(client netip.Addr) [16]byte {
	if !client.IsValid() {
		return [16]byte{} // no address: one unit for all of them
	}
	unit := client.As16()
	if !client.Unmap().Is4() {
		clear(unit[unitBits6/8:])
	}
	return unit
}

// hostsOf finds services by the hosts of both their arms.
func hostsOf(all []*served) (*route.Hosts, error) {
	services := make([]selvage.Service, len(all))
	for i, s := range all {
		revs := s.revisions()
		services[i].Service, services[i].Hosts = revs[0].service.Service, revs[0].service.Hosts
		if len(revs) == 1 {
			continue
		}
		hosts := slices.Clone(revs[0].service.Hosts)
		for _, h := range revs[1].service.Hosts {
			if !slices.ContainsFunc(hosts, func(have string) bool { return route.CleanHost(have) == route.CleanHost(h) }) {
				hosts = append(hosts, h)
			}
		}
		services[i].Hosts = hosts
	}
	return route.NewHosts(services)
}

// makingOf is a digest of what makes the answers of a route, and by which rules they
// are stored. What only decides who gets them, or how they are sent, is not in it.
func makingOf(rev *revision, r *selvage.Route) string {
	o := rev.service.Origins[r.Origin]
	return digestOf(rev.tenant, rev.service.Service, functionMaking(rev, o.Function), functionMaking(rev, r.Function), o.Endpoints, o.Folder, o.Host, r.Rewrite, r.Headers.Request, r.Cache, r.Compress)
}

// functionMaking is what a function is made of; nil without one.
func functionMaking(rev *revision, name selvage.FunctionName) any {
	if name == "" {
		return nil
	}
	f := rev.service.Functions[name]
	return []any{rev.functions[name].key, f.Backends, f.OtherBackends, f.OnFailure, f.Default, rev.service.Origins}
}

// rulesOf is a digest of all that a route says, with its origin.
func rulesOf(s *selvage.Service, r selvage.Route) string {
	r.Name, r.Log = "", selvage.LogChoice{}
	return digestOf(r, s.Origins[r.Origin], s.Functions[r.Function])
}

func digestOf(parts ...any) string {
	text, err := json.Marshal(parts)
	if err != nil {
		return "" // which is the same as no other
	}
	sum := sha256.Sum256(text)
	return string(sum[:])
}
