package origin

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
)

func addrs(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func (b *bed) addresses(p *Pool) (out []string) {
	for _, s := range p.Status() {
		out = append(out, s.Address)
	}
	return out
}

func (b *bed) wantAddresses(p *Pool, want ...string) {
	b.Helper()
	if got := b.addresses(p); !slices.Equal(got, want) {
		b.Errorf("addresses are %v; want %v", got, want)
	}
}

func TestNameStandsForAllItsAddresses(t *testing.T) {
	inBed(t, func(b *bed) {
		one, two := b.origin(1), b.origin(2)
		b.net.SetHost("web.internal", addrs("10.0.0.1", "10.0.0.2")...)
		p := b.pool(standard("http://web.internal"))
		defer p.Release()
		b.wantAddresses(p, "")
		b.wantStates(p, StateUnresolved)
		for range 40 {
			if _, _, err := ask(p, "GET", ""); err != nil {
				t.Error(err)
			}
		}
		b.wantAddresses(p, "10.0.0.1:80", "10.0.0.2:80")
		if one.Requests() == 0 || two.Requests() == 0 {
			t.Errorf("%d and %d requests; want both used", one.Requests(), two.Requests())
		}
		if s := p.Status()[0]; !s.ResolvedAt.Equal(time.Now()) {
			t.Errorf("resolved at %v; want now", s.ResolvedAt)
		}
	})
}

func TestNameIsResolvedAgain(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1)
		two := b.origin(2)
		b.net.SetHost("web.internal", addrs("10.0.0.1", "::ffff:10.0.0.1")...)
		p := b.pool(standard("http://web.internal"))
		defer p.Release()
		b.run()
		synctest.Wait()
		b.wantAddresses(p, "10.0.0.1:80")
		stays := p.members.Load().peers[0]
		b.net.SetHost("web.internal", addrs("10.0.0.2", "10.0.0.1")...)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		b.wantAddresses(p, "10.0.0.1:80", "10.0.0.2:80")
		if p.members.Load().peers[0] != stays {
			t.Error("the address that stayed lost what was known of it")
		}
		b.net.SetHost("web.internal", addrs("10.0.0.2")...)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		b.wantAddresses(p, "10.0.0.2:80")
		b.mustAsk(p, "200 OK one 1")
		if two.Requests() != 1 {
			t.Errorf("%d requests at the new address; want 1", two.Requests())
		}
	})
}

func TestLastGoodAddressesAreKeptWhileDNSFails(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1)
		b.net.SetHost("web.internal", addrs("10.0.0.1")...)
		p := b.pool(standard("http://web.internal"))
		defer p.Release()
		b.run()
		synctest.Wait()
		good := time.Now()
		for _, fail := range []func(){
			func() { b.net.FailHost("web.internal") },
			func() { b.net.HangHost("web.internal") },
			func() { b.net.SetHost("web.internal") },
		} {
			fail()
			time.Sleep(time.Minute)
			b.wantAddresses(p, "10.0.0.1:80")
			if _, _, err := ask(p, "GET", ""); err != nil {
				t.Error(err)
			}
			if s := p.Status()[0]; s.ResolveErr == "" || !s.ResolvedAt.Equal(good) {
				t.Errorf("status %+v; want the error, and that of %v as the last good look-up", s, good)
			}
		}
		b.net.SetHost("web.internal", addrs("10.0.0.1")...)
		time.Sleep(11 * time.Second)
		if s := p.Status()[0]; s.ResolveErr != "" || !s.ResolvedAt.After(good) {
			t.Errorf("status %+v; want it resolved again", s)
		}
	})
}

func TestNameThatNeverResolvedIsTriedAgainAtMostOnceASecond(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1)
		b.net.FailHost("web.internal")
		p := b.pool(standard("http://web.internal"))
		defer p.Release()
		lookups := 0
		b.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			lookups++
			return b.net.Resolve(ctx, host)
		}
		for range 25 {
			_, _, err := ask(p, "GET", "")
			b.wantType(err, selvage.DNSError)
			time.Sleep(100 * time.Millisecond)
		}
		if lookups != 3 {
			t.Errorf("%d look-ups in 2.5 s; want 3", lookups)
		}
		b.net.SetHost("web.internal", addrs("10.0.0.1")...)
		time.Sleep(time.Second)
		b.mustAsk(p, "200 OK one 1")
	})
}

func TestManyRequestsShareALookup(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1)
		lookups := 0
		b.resolve = func(context.Context, string) ([]netip.Addr, error) {
			lookups++
			time.Sleep(time.Second)
			return addrs("10.0.0.1"), nil
		}
		p := b.pool(standard("http://web.internal"))
		defer p.Release()
		for range 10 {
			b.wg.Go(func() {
				if _, _, err := ask(p, "GET", ""); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if lookups != 1 {
			t.Errorf("%d look-ups; want 1", lookups)
		}
	})
}

func TestClientThatLeavesDoesNotEndTheLookupForOthers(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1)
		lookups := 0
		b.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			if lookups++; lookups == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return addrs("10.0.0.1"), nil
		}
		p := b.pool(standard("http://web.internal"))
		defer p.Release()
		ctx, leave := context.WithCancel(b.ctx)
		b.wg.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, "GET", "http://shop.example/", nil)
			if _, err := p.RoundTrip(req); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v; want that the client left", err)
			}
		})
		synctest.Wait()
		b.wg.Go(func() { b.mustAsk(p, "200 OK one 1") })
		synctest.Wait()
		leave()
		synctest.Wait()
		if lookups != 2 {
			t.Errorf("%d look-ups; want a second one", lookups)
		}
	})
}

func TestSlowDNSIsATimeout(t *testing.T) {
	inBed(t, func(b *bed) {
		b.net.HangHost("web.internal")
		p := b.pool(standard("http://web.internal"))
		defer p.Release()
		start := time.Now()
		_, _, err := ask(p, "GET", "")
		b.wantType(err, selvage.DNSTimeout)
		if took := time.Since(start); took != lookupTimeout {
			t.Errorf("it took %v; want %v", took, lookupTimeout)
		}
	})
}

func TestAddressesOfANameAreBounded(t *testing.T) {
	inBed(t, func(b *bed) {
		var many []netip.Addr
		for i := range 100 {
			many = append(many, netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}))
		}
		b.net.SetHost("web.internal", many...)
		p := b.pool(standard("http://web.internal"))
		defer p.Release()
		b.run()
		synctest.Wait()
		if n := len(p.Status()); n != maxAddresses {
			t.Errorf("%d addresses are used; want %d", n, maxAddresses)
		}
		if !slices.Contains(b.limits, "origin_addresses") {
			t.Errorf("limits %v; want origin_addresses", b.limits)
		}
	})
}

func TestRemovedAddressFinishesItsRequests(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1, "answers 200 slow\nwait 20s")
		b.origin(2)
		b.net.SetHost("web.internal", addrs("10.0.0.1")...)
		p := b.pool(standard("http://web.internal"))
		defer p.Release()
		b.run()
		synctest.Wait()
		b.wg.Go(func() { b.mustAsk(p, "200 OK slow") })
		synctest.Wait()
		old := p.members.Load().peers[0]
		b.net.SetHost("web.internal", addrs("10.0.0.2")...)
		time.Sleep(15 * time.Second)
		b.wantAddresses(p, "10.0.0.2:80")
		if n := old.inFlight.Load(); n != 1 {
			t.Errorf("%d requests run at the old address; want 1", n)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if n := old.inFlight.Load(); n != 0 {
			t.Errorf("%d requests run at the old address; want 0", n)
		}
	})
}
