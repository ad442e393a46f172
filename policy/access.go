package policy

import (
	"net/http"
	"net/netip"
	"slices"

	"github.com/selvage-edge/selvage"
)

// compileAccess is who may, by address: deny goes before allow.
func compileAccess(_ Scope, rt *selvage.Route) (policy, error) {
	if rt.Access == nil || len(rt.Access.Allow)+len(rt.Access.Deny) == 0 {
		return policy{}, nil
	}
	allow, deny := newRanges(rt.Access.Allow), newRanges(rt.Access.Deny)
	return policy{request: func(x *Exchange) *Answer {
		a := x.Client.Unmap().WithZone("")
		if !deny.contain(a) && (len(allow) == 0 || allow.contain(a)) {
			return nil
		}
		return refuse(x, http.StatusForbidden, "This address may not use this page.\n", "access: address denied")
	}}, nil
}

// ranges are ranges of addresses, ascending and apart from each other, IPv4 before IPv6.
type ranges []addrRange

type addrRange struct{ first, last netip.Addr }

func newRanges(prefixes []selvage.Prefix) ranges {
	all := make(ranges, 0, len(prefixes))
	for _, p := range prefixes {
		first := p.Masked().Addr()
		all = append(all, addrRange{first, lastOf(first, p.Bits())})
	}
	slices.SortFunc(all, func(a, b addrRange) int { return a.first.Compare(b.first) })
	merged := all[:0]
	for _, r := range all {
		// Prefixes lie within each other or apart.
		if n := len(merged); n == 0 || merged[n-1].last.Less(r.last) {
			merged = append(merged, r)
		}
	}
	return slices.Clip(merged)
}

// lastOf is the last address of a prefix.
func lastOf(first netip.Addr, bits int) netip.Addr {
	b := first.AsSlice()
	for i := range b {
		if keep := bits - 8*i; keep < 8 {
			b[i] |= 0xff >> max(keep, 0)
		}
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// contain says whether one of the ranges holds a. An invalid address is in none.
func (r ranges) contain(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	i, found := slices.BinarySearchFunc(r, a, func(r addrRange, a netip.Addr) int { return r.first.Compare(a) })
	return found || i > 0 && !r[i-1].last.Less(a)
}
