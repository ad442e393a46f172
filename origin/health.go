package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/http1"
)

// healthBody is how much of a health check's answer is read, so that its
// connection can be used again.
const healthBody = 64 << 10

// checks are what the active health checks of a peer found. A peer is in until
// they say otherwise: a node that starts must not refuse what it has not tried.
type checks struct {
	good, bad int // in a row
	down      bool
	why       string // the last bad answer
}

// note takes in one check and says whether the verdict changed.
func (c *checks) note(err error, rise, fall int) (changed bool) {
	if err == nil {
		c.good, c.bad = c.good+1, 0
		changed = c.down && c.good >= rise
	} else {
		c.good, c.bad = 0, c.bad+1
		c.why = err.Error()
		changed = !c.down && c.bad >= fall
	}
	if changed {
		c.down = !c.down
	}
	return changed
}

// watch checks the peer until ctx ends, give or take a tenth, so that the checks of
// many nodes do not come at once.
func (p *peer) watch(ctx context.Context) {
	h := &p.endpoint.key.health
	for {
		err := p.check(ctx)
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errNoVerdict) {
			p.judge(err)
		}
		every := h.Every.Std()
		wait := time.NewTimer(every - every/10 + rand.N(every/5+1))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}

func (p *peer) judge(err error) {
	e := p.endpoint
	p.mu.Lock()
	changed := p.checks.note(err, e.key.health.Rise, e.key.health.Fall)
	down := p.checks.down
	p.mu.Unlock()
	if !changed {
		return
	}
	p.down.Store(down)
	if down {
		e.reg.logger().Warn("origin endpoint is out", "service", e.key.service, "endpoint", e.url, "address", p.addr, "error", err)
	} else {
		e.reg.logger().Info("origin endpoint is in again", "service", e.key.service, "endpoint", e.url, "address", p.addr)
	}
}

// errNoVerdict says that a check could not be made, for a reason of ours.
var errNoVerdict = errors.New("the check was not made")

// check asks once.
func (p *peer) check(ctx context.Context) error {
	e := p.endpoint
	h := &e.key.health
	ctx, cancel := context.WithTimeout(ctx, h.Timeout.Std())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.key.scheme+"://"+e.authority+h.Path, http.NoBody)
	if err != nil {
		return fmt.Errorf("make health check: %w", err)
	}
	req.Header.Set("User-Agent", "selvage-health")
	if h.Host != "" {
		req.Host = h.Host
	}
	resp, err := p.rt.RoundTrip(req)
	if a, ok := errors.AsType[*http1.AnswerError](err); ok && a.Reused && a.Type == selvage.ConnectionTerminated {
		resp, err = p.rt.RoundTrip(req) // the kept connection was given up in this moment
	}
	if err != nil {
		if a, ok := errors.AsType[*http1.AnswerError](err); ok && a.Type == selvage.ConnectionLimit {
			return fmt.Errorf("%w: %w", errNoVerdict, err)
		}
		if pe, ok := errors.AsType[*selvage.ProxyError](err); ok {
			err = pe.Err // which endpoint it is stands beside it
		}
		return err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, healthBody) // the status has decided
	resp.Body.Close()
	if s := resp.StatusCode; s == h.Status || h.Status == 0 && s >= 200 && s < 400 {
		return nil
	}
	return fmt.Errorf("it answers %d to %s", resp.StatusCode, h.Path)
}
