package compute

import "time"

// CPU is what the request took until now.
func (g *Guest) CPU() time.Duration {
	now := time.Now()
	defer g.meter.again(now)
	return g.meter.tick(now)
}

// Hit notes that a limit of the ABI's own was reached, once for each request.
func (g *Guest) Hit(name LimitName) { g.hit(name) }

// CountFetch counts a request to an origin that the ABI makes by itself, through
// [Invocation.Fetch], because it goes on beside the guest. Beyond the limit the
// error is a [*LimitError].
func (g *Guest) CountFetch() error {
	if g.in.Fetch == nil {
		return errNoOrigins
	}
	if g.in.Usage.OriginRequests >= g.limits.OriginRequests {
		g.hit(LimitOriginRequests)
		return limitErrorf(LimitOriginRequests, "%d requests to origins are allowed", g.limits.OriginRequests)
	}
	g.in.Usage.OriginRequests++
	return nil
}
