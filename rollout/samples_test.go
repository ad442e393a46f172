package rollout

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
)

func TestBadsOfOneNetworkAndDeviceAreFound(t *testing.T) {
	var w Watch
	w.begin(judge.Options{}, time.Now())
	for i := range 2000 {
		f := Facts{
			Revision: "old", Method: "GET", Path: "/a", Endpoint: "10.0.0.1:80", Protocol: "HTTP/2.0", Status: 200, RTT: 20 * time.Millisecond,
			Client: netip.AddrFrom4([4]byte{10, byte(i % 7), 1, byte(i)}), Agent: "Mozilla/5.0 (X11; Linux x86_64)",
		}
		if i%2 == 1 {
			f.Agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148"
		}
		arm, bad := selvage.Baseline, judge.Set(0)
		if i%4 < 2 {
			arm, f.Revision, f.Change = selvage.Canary, "new", "c-7"
			if i%2 == 1 && i%7 == 3 {
				bad = bad.With(judge.OwnError)
			}
		}
		m := w.Begin(time.Now(), arm, uint64(i), "route")
		w.End(m, judge.Outcome{Bad: bad, NoBody: true}, &f)
	}
	want := &client.Where{Network: "10.3.0.0/16", Device: "mobile"}
	if diff := cmp.Diff(want, where(w.recent())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAllThatBadsHaveInCommonIsTold(t *testing.T) {
	want := &client.Where{
		POP: "ams", Node: "ams-1", Zone: "west", Route: "cart", Method: "POST", Protocol: "HTTP/2.0", Network: "10.3.0.0/16",
		Device: "mobile", RTT: "20 ms", Origin: "10.0.0.1:80", Status: 503,
	}
	bad := judge.Sample{Bad: true}
	for d, v := range map[judge.Dimension]string{
		judge.ByPOP: want.POP, judge.ByNode: want.Node, judge.ByZone: want.Zone, judge.ByRoute: want.Route, judge.ByMethod: want.Method,
		judge.ByProtocol: want.Protocol, judge.ByNetwork: want.Network, judge.ByDevice: want.Device, judge.ByRTT: want.RTT,
		judge.ByEndpoint: want.Origin, judge.ByStatus: "503",
	} {
		bad.Values[d] = v
	}
	samples := slices.Concat(slices.Repeat([]judge.Sample{bad}, 100), make([]judge.Sample, 1000))
	if diff := cmp.Diff(want, where(samples)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDevicesAreToldApart(t *testing.T) {
	for agent, want := range map[string]string{
		"": "", "curl/8.5.0": "program", "Mozilla/5.0 (compatible; Googlebot/2.1)": "bot",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64)": "desktop", "Mozilla/5.0 (Linux; Android 14; Pixel 8) Mobile Safari": "mobile",
		"Mozilla/5.0 (Linux; Android 14; SM-X710) Safari": "tablet", "Mozilla/5.0 (iPad; CPU OS 17_0)": "tablet",
	} {
		if got := device(agent); got != want {
			t.Errorf("%q: got %q, want %q", agent, got, want)
		}
	}
}
