package node

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/rollout"
)

// PassField is the request field by which an operator chooses an arm for himself,
// and ArmField the field of the answer that shows it.
const (
	PassField = "Selvage-Debug"
	ArmField  = "Selvage-Arm"
)

// What a pass may be.
const (
	passSize    = 1 + sealTime
	passFor     = time.Hour
	maxPassFor  = 24 * time.Hour
	passCanary  = 'c'
	passControl = 'b'
)

func passPurpose(tenant selvage.Tenant, service selvage.ServiceName, change selvage.ChangeID) string {
	return "pass\x00" + string(tenant) + "\x00" + string(service) + "\x00" + string(change)
}

// takePass takes a pass out of the request: no origin sees it.
func (x *exchange) takePass() {
	if given := x.r.Header[PassField]; len(given) > 0 {
		x.pass = given[0]
		delete(x.r.Header, PassField)
	}
}

// forcedArm is the arm that a pass gives, empty without a good one. It is good for
// one rollout and while both arms are served.
func (x *exchange) forcedArm(s *served) selvage.Arm {
	key := x.node.registry.shared.now.Load()
	if x.pass == "" || key == nil || s.canary == nil {
		return ""
	}
	text, ok := key.open(passPurpose(x.node.tenant, s.name, s.change), x.pass, passSize)
	switch {
	case !ok || time.Now().After(getTime(text[1:])):
		return ""
	case text[0] == passCanary:
		return selvage.Canary
	case s.baseline == nil:
		return ""
	}
	return selvage.Baseline
}

// showArm says on an answer which arm made it, to who has a pass alone.
func (x *exchange) showArm(h http.Header) {
	t := &x.rec.Target
	if !t.Forced {
		return
	}
	h.Set(ArmField, fmt.Sprintf("%s; change=%q; revision=%q", t.Arm, t.Change, t.Revision))
	h["Vary"] = append(slices.Clip(h["Vary"]), PassField) // of caches behind us
}

// Pass implements [control.Passer]: what makes requests meet one arm of a running
// rollout. They are not counted in its judging.
func (c *Changes) Pass(ctx context.Context, service, change string, r client.PassRequest, who string) (client.Pass, error) {
	now, err := c.Rollouts.Status(ctx, rollout.Request{Change: selvage.ChangeID(change), Service: selvage.ServiceName(service)})
	if err != nil {
		return client.Pass{}, err
	}
	id := now.Change.ID
	arm, text := r.Arm, [passSize]byte{passCanary}
	switch arm {
	case "", string(selvage.Canary):
		arm = string(selvage.Canary)
	case string(selvage.Baseline):
		text[0] = passControl
	default:
		return client.Pass{}, selvage.Errorf(selvage.Invalid, "arm %q: write canary or baseline", arm)
	}
	if client.Over(now.Change.State) && now.Exposure == 0 {
		return client.Pass{}, selvage.Errorf(selvage.Conflict, "pass for %s: it is %s, there is one arm only", id, now.Change.State)
	}
	lasts := time.Duration(r.Seconds) * time.Second
	if lasts == 0 {
		lasts = passFor
	}
	if lasts < time.Second || lasts > maxPassFor {
		return client.Pass{}, selvage.Errorf(selvage.Invalid, "a pass for %s: write 1s to %s", lasts, maxPassFor)
	}
	key, err := sharedSeal(ctx, c.Store.Documents, c.Tenant)
	if err != nil {
		return client.Pass{}, err
	}
	until := time.Now().Add(lasts).UTC().Truncate(time.Second)
	putTime(text[1:], until)
	words := fmt.Sprintf("made a pass to the %s of %s until %s", arm, id, until.Format(time.RFC3339))
	if err := c.Rollouts.Record(ctx, client.LogFact{Event: "pass", Who: who, Words: words}); err != nil {
		return client.Pass{}, err
	}
	purpose := passPurpose(c.Tenant, selvage.ServiceName(now.Change.Service), selvage.ChangeID(id))
	return client.Pass{
		Change: id, Service: now.Change.Service, Arm: arm, Field: PassField, Value: key.close(purpose, text[:]), Until: until,
	}, nil
}
