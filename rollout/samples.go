package rollout

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/judge"
)

// Facts are what is known of a making beside how it ended, to say afterwards
// where the bad ones were.
type Facts struct {
	Trace    [16]byte         // the record's trace id
	Change   selvage.ChangeID // of a canary's making; empty for the baseline's
	Revision selvage.RevisionID
	Method   string
	Path     string // without the query
	Endpoint string // of the origin, or the function
	Protocol string
	Status   int
	Client   netip.Addr    // only its network is kept
	Agent    string        // User-Agent; only the class of device is kept
	RTT      time.Duration // to the client; 0 if unknown
}

// Known knows the facts of a making. Most are never asked: of those that end well
// one of eight is kept. It is asked while others wait, and must not.
type Known interface{ Facts() Facts }

// Facts implements [Known].
func (f *Facts) Facts() Facts { return *f }

// samples are the last bad makings, and some good ones.
type samples struct {
	skip        int
	nextB, next int
	bad, good   []sample
}

// sample is a making as it is kept. Its words are made when somebody asks.
type sample struct {
	class, device string
	network       netip.Prefix
	facts         Facts // without path, client and agent
}

// What is kept: the bads of one node's rollout, and goods, one of goodsPer. With 32
// nodes that is 8,192 bads and 32,768 goods for who looks for what they have in
// common. More of one node would say the same again: a rollout that has seen 256 bads
// is over.
const (
	maxBads  = 256
	maxGoods = 1024
	goodsPer = 8
)

// sampleLocked keeps what is known of a making that ended, if it is one to be kept.
// bad is what [Watch.End] says.
func (w *Watch) sampleLocked(m *Making, bad judge.Set, k Known) {
	if w.clients == nil || m.life != w.life {
		return
	}
	if bad == 0 && !w.samples.takes() {
		return
	}
	f := k.Facts()
	class := strings.TrimSuffix(strings.TrimSuffix(m.class, Stored), Unpaired) // to people it is a route
	if bad != 0 && m.canary && w.harm.First.Record == "" && f.Method != "" {   // a handshake has no record
		w.harm.First = First{hex.EncodeToString(f.Trace[:]), f.Method, f.Path, class, f.Status, time.Now()}
	}
	w.samples.add(class, bad != 0, f)
}

// takes says whether it is a good one's turn.
func (s *samples) takes() bool {
	if s.skip++; s.skip < goodsPer {
		return false
	}
	s.skip = 0
	return true
}

func (s *samples) add(class string, bad bool, f Facts) {
	v := sample{class: class, device: device(f.Agent), network: network(f.Client), facts: f}
	v.facts.Path, v.facts.Agent, v.facts.Client = "", "", netip.Addr{} // long, or of one person
	if bad {
		s.bad, s.nextB = keep(s.bad, s.nextB, maxBads, v)
	} else {
		s.good, s.next = keep(s.good, s.next, maxGoods, v)
	}
}

// keep writes into a ring.
func keep(ring []sample, at, most int, v sample) ([]sample, int) {
	if len(ring) < most {
		return append(ring, v), at
	}
	ring[at] = v
	return ring, (at + 1) % most
}

// recent are the samples that are kept.
func (w *Watch) recent() []judge.Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]judge.Sample, 0, len(w.samples.bad)+len(w.samples.good))
	for i := range w.samples.bad {
		out = append(out, w.samples.bad[i].judged(true))
	}
	for i := range w.samples.good {
		out = append(out, w.samples.good[i].judged(false))
	}
	return out
}

// judged is the sample in the words of its dimensions. POP, node and zone are the
// agent's to say.
func (s *sample) judged(bad bool) judge.Sample {
	f := &s.facts
	v := judge.Sample{Bad: bad, Weight: goodsPer}
	v.Values[judge.ByChange] = string(f.Change)
	v.Values[judge.ByRevision] = string(f.Revision)
	v.Values[judge.ByRoute] = s.class
	v.Values[judge.ByMethod] = f.Method
	v.Values[judge.ByEndpoint] = f.Endpoint
	v.Values[judge.ByRTT] = band(f.RTT)
	if s.network.IsValid() {
		v.Values[judge.ByNetwork] = s.network.String()
	}
	v.Values[judge.ByDevice] = s.device
	v.Values[judge.ByProtocol] = f.Protocol
	if f.Status > 0 {
		v.Values[judge.ByStatus] = strconv.Itoa(f.Status)
	}
	return v
}

// The prefixes of addresses that are one network: what a provider has of its users,
// roughly, and nobody's own.
const (
	networkBits4 = 16
	networkBits6 = 32
)

func network(client netip.Addr) netip.Prefix {
	bits := networkBits6
	if client = client.Unmap(); client.Is4() {
		bits = networkBits4
	}
	p, err := client.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address
	}
	return p
}

// band is a round trip time as one of a few words; empty if it is not known.
func band(rtt time.Duration) string {
	switch {
	case rtt <= 0:
		return ""
	case rtt < 10*time.Millisecond:
		return "under 10 ms"
	case rtt < 50*time.Millisecond:
		return "10 to 50 ms"
	case rtt < 200*time.Millisecond:
		return "50 to 200 ms"
	}
	return "over 200 ms"
}

// maxAgent is how much of a User-Agent is looked at, in bytes.
const maxAgent = 256

// device is the class of a client's device by what it says of itself: empty without.
func device(agent string) string {
	agent = strings.ToLower(agent[:min(len(agent), maxAgent)])
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(agent, w) {
				return true
			}
		}
		return false
	}
	switch {
	case agent == "":
		return ""
	case has("bot", "crawl", "spider"):
		return "bot"
	case has("ipad", "tablet"), has("android") && !has("mobile"):
		return "tablet"
	case has("mobile", "iphone", "android"):
		return "mobile"
	case has("windows", "macintosh", "x11", "cros"):
		return "desktop"
	}
	return "program"
}
