package judge

import (
	"hash/maphash"
	"time"
)

// Clients keeps one client from being many: a client that retries its failing
// request, or one that means harm, moves a verdict only so far. Both arms are
// treated alike, and nothing here depends on the arm.
type Clients struct {
	begin   time.Time
	seed    maphash.Seed
	bads    map[uint64]*clientBads
	window  int64
	makings map[uint64]uint16
	dropped int64
}

// What one client may say. Retries counted raw undid 9 to 33 % of innocent
// changes in the simulation.
const (
	again         = 10 * time.Second // one bad per client and fingerprint
	badsPerClient = 5                // in a rollout
	timedMakings  = 20               // whose latency counts, in 10 s: one client's expensive requests are one client's
	mostMakings   = 2000             // that count at all, in 10 s
	maxClients    = 16_384           // with bads; later ones' are dropped, in both arms
	maxMakers     = 65_536           // in 10 s; later ones' latency does not count
)

type clientBads struct {
	n    int
	what [badsPerClient]uint64
	at   [badsPerClient]time.Duration
}

// NewClients is for one rollout that begins now.
func NewClients(now time.Time) *Clients {
	return &Clients{begin: now, seed: maphash.MakeSeed(), bads: map[uint64]*clientBads{}, makings: map[uint64]uint16{}}
}

// Bad says whether a client's bad counts. fingerprint is a trap's, or the
// indicators' names. Where it does not count, the making counts as good.
func (c *Clients) Bad(now time.Time, client uint64, fingerprint string) bool {
	b := c.bads[client]
	if b == nil {
		if len(c.bads) >= maxClients {
			c.dropped++
			return false
		}
		b = new(clientBads)
		c.bads[client] = b
	}
	at, what := now.Sub(c.begin), maphash.String(c.seed, fingerprint)
	for i := range b.n {
		if b.what[i] == what && at-b.at[i] < again {
			return false
		}
	}
	if b.n == badsPerClient {
		return false
	}
	b.what[b.n], b.at[b.n] = what, at
	b.n++
	return true
}

// Making says, before it starts, whether a client's making counts, and whether
// its latency does. Deciding before the outcome is known keeps it fair.
func (c *Clients) Making(now time.Time, client uint64) (counts, timed bool) {
	if w := int64(now.Sub(c.begin) / again); w != c.window {
		c.window = w
		clear(c.makings)
	}
	n, ok := c.makings[client]
	if !ok && len(c.makings) >= maxMakers {
		return true, false
	}
	if n < mostMakings {
		c.makings[client] = n + 1
	}
	return n < mostMakings, n < timedMakings
}

// Dropped is how many bads were dropped because the table is full: a limit that
// was reached.
func (c *Clients) Dropped() int64 { return c.dropped }
