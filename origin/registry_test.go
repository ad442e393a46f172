package origin

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
)

func TestThereIsOneRunAtATime(t *testing.T) {
	inBed(t, func(b *bed) {
		b.run()
		synctest.Wait()
		if err := b.reg.Run(b.ctx); err == nil {
			t.Error("a second Run began beside the first")
		}
		b.stop()
		b.wg.Wait()
		if err := b.reg.Run(b.ctx); err != nil {
			t.Errorf("Run after the end of the first: %v", err)
		}
	})
}

func TestLoopsFollowTheirEndpoints(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1)
		b.net.SetHost("web.internal", netip.MustParseAddr("10.0.0.1"))
		b.run()
		synctest.Wait()
		set := standard("http://web.internal")
		set.Health = &selvage.Health{Every: selvage.Duration(time.Second)}
		p, same := b.pool(set), b.pool(set) // while it runs
		time.Sleep(10 * time.Second)
		if n := o.Requests(); n < 9 || n > 12 {
			t.Errorf("%d checks in 10 s; want one a second, once for both users", n)
		}
		p.Release()
		before := o.Requests()
		time.Sleep(10 * time.Second)
		if o.Requests() == before {
			t.Error("the checks ended with the first of two releases")
		}
		same.Release()
		synctest.Wait()
		before = o.Requests()
		time.Sleep(time.Hour)
		if n := o.Requests() - before; n != 0 {
			t.Errorf("%d checks came after the last release", n)
		}
	})
}

func TestServicesShareNothing(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1, "answers 503 busy")
		b.origin(2)
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Eject.Failures, set.Retry.Attempts = 1, 1
		one := b.pool(set)
		defer one.Release()
		other, err := b.reg.Acquire(selvage.DefaultTenant, "blog", "web", set)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Release()
		for b.states(one)[0] == StateIn {
			ask(one, "GET", "")
			time.Sleep(time.Second)
		}
		b.wantStates(other, StateIn, StateIn)
	})
}

func TestOriginsOfAServiceShareTheirEndpoints(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1)
		set := standard("http://10.0.0.1")
		one := b.pool(set)
		defer one.Release()
		set.Host = "api.example"
		other, err := b.reg.Acquire(selvage.DefaultTenant, "shop", "api", set)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Release()
		b.mustAsk(one, "200 OK one 1")
		b.mustAsk(other, "200 OK one 2")
		if n := o.Connections(); n != 1 {
			t.Errorf("%d connections; want 1", n)
		}
	})
}

func TestRefusedOriginLeavesNothing(t *testing.T) {
	inBed(t, func(b *bed) {
		set := standard("http://10.0.0.1", "gopher://10.0.0.2")
		_, err := b.reg.Acquire(selvage.DefaultTenant, "shop", "web", set)
		if e, ok := errors.AsType[*selvage.Error](err); !ok || e.Kind != selvage.Invalid {
			t.Errorf("error %v; want an invalid one", err)
		}
	})
}
