package origin

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// askAs sends a GET of an arm and reads nothing but its status.
func askAs(p *Pool, arm selvage.Arm) int {
	rec := &record.Record{Start: time.Now()}
	rec.Target.Arm = arm
	req, err := http.NewRequestWithContext(record.NewContext(context.Background(), rec), "GET", "http://shop.example/", nil)
	if err != nil {
		return 0
	}
	resp, err := p.RoundTrip(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestACanarysFailuresEjectForItselfAlone(t *testing.T) {
	inBed(t, func(b *bed) {
		one := &switched{}
		b.handle(1, one.ServeHTTP)
		b.handle(2, func(http.ResponseWriter, *http.Request) {})
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Retry.Attempts = 1
		set.Eject = selvage.Eject{Failures: 3, For: selvage.Duration(time.Hour)}
		p := b.pool(set)
		defer p.Release()
		one.fails.Store(true)
		for range 100 {
			askAs(p, selvage.Canary)
			time.Sleep(time.Second)
		}
		if n := one.asked.Load(); n != 3 {
			t.Errorf("the canary asked the failing endpoint %d times, want 3", n)
		}
		b.wantStates(p, StateIn, StateIn)
		// The baseline does not know of it; and the canary sees what the baseline finds out.
		p.Trial()
		for one.asked.Load() < 6 {
			askAs(p, selvage.Baseline)
			time.Sleep(time.Second)
		}
		b.wantStates(p, StateEjected, StateIn)
		for range 100 {
			if got := askAs(p, selvage.Canary); got != 200 {
				t.Fatalf("the canary got %d, want an endpoint that is in", got)
			}
		}
		if n := one.asked.Load(); n != 6 {
			t.Errorf("the ejected endpoint was asked %d times, want 6", n)
		}
	})
}
