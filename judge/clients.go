package judge

import "time"

// Clients keeps one client from being many: a client that retries its failing
// request, or one that means harm, moves a verdict only so far. Both arms are
// treated alike, and nothing here depends on the arm.
type Clients struct {
	begin   time.Time
	bads    map[uint64]clientBads
	makings makers
	dropped int64
}

// What one client may say. Retries counted raw undid 9 to 33 % of innocent
// changes in the simulation.
const (
	again         = 10 * time.Second // after which a client's bad says something again
	badsPerClient = 2                // in a rollout
	timedMakings  = 20               // whose latency counts, in 10 s: one client's expensive requests are one client's
	mostMakings   = 2000             // that count at all, in 10 s
	maxClients    = 16_384           // with bads; later ones' are dropped, in both arms
	maxMakers     = 65_536           // in 10 s; later ones' latency does not count
)

type clientBads struct {
	last  time.Duration // since the begin
	heard int           // that were fresh
}

// NewClients is for one rollout that begins now.
func NewClients(now time.Time) *Clients {
	return &Clients{begin: now, bads: map[uint64]clientBads{}}
}

// Bad says whether a client's bad is fresh: the first for ten seconds. Of these
// the first two in the rollout count. Where it does not count, the making counts as
// good: that is so for those that had begun when the client's first bad one ended.
func (c *Clients) Bad(now time.Time, client uint64) (fresh, counts bool) {
	b, known := c.bads[client]
	if !known && len(c.bads) >= maxClients {
		c.dropped++
		return false, false
	}
	at := now.Sub(c.begin)
	if fresh = !known || at-b.last >= again; fresh {
		b.heard++
	}
	b.last = at
	c.bads[client] = b
	return fresh, fresh && b.heard <= badsPerClient
}

// Making says, before it starts, whether a client's making counts, and whether
// its latency does. Deciding before the outcome is known keeps it fair. What a
// client asks for in the ten seconds after a bad answer does not count: as good
// ones, the turns of a redirect loop would hide it.
func (c *Clients) Making(now time.Time, client uint64) (counts, timed bool) {
	since := now.Sub(c.begin)
	if len(c.bads) > 0 {
		if b, ok := c.bads[client]; ok && since-b.last < again {
			return false, false
		}
	}
	c.makings.turn(int64(since / again))
	n, known := c.makings.count(client)
	return n < mostMakings, known && n < timedMakings
}

// Dropped is how many bads were dropped because the table is full: a limit that
// was reached.
func (c *Clients) Dropped() int64 { return c.dropped }
