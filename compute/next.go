package compute

import (
	"context"
	"time"
)

// Turn puts the guest into another request, for an ABI whose guests serve
// several in turn: what it uses from now on counts for that one, within limits
// of its own, and the one before has the usage that it has until now. at is the
// context of the host call in which this happens. The context that is returned
// is the new request's; the old one's has ended. The memory stays as it is.
func (g *Guest) Turn(at, ctx context.Context, in *Invocation) context.Context {
	b, now := g.box, time.Now()
	b.account(now)
	b.request.end()
	if r, ok := at.(*requestContext); ok {
		at = r.engine
	}
	b.began, b.request = now, &requestContext{Context: ctx, engine: at, box: b, deadline: now.Add(g.limits.Wall)}
	g.in, g.headerBytes = in, 0
	in.Usage = Usage{Hit: in.Usage.Hit, Rewound: true}
	if b.memory != nil {
		b.memory.refused = false
	}
	g.meter.begin(now)
	g.meter.again(now)
	return b.request
}
