package rollout

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
)

// verdictOf is a verdict in the shape of the wire.
func verdictOf(v judge.Verdict, now time.Time) client.Verdict {
	return client.Verdict{
		Word: string(v.Word), When: now, Bad: v.Bad, Makings: v.Makings, Baseline: v.Baseline, Unit: v.Unit, Seconds: v.After.Seconds(),
		Lead: v.Lead.String(), Rate: finite(v.Rate), Base: finite(v.Base), ToOne: toOne(v.Evidence),
		Fingerprint: v.Fingerprint, Words: v.String(),
	}
}

// unit is what the arms make, in the plural.
func (r *rollout) unit() string {
	switch r.Change.Kind {
	case selvage.CertificateChange:
		return "handshakes"
	case selvage.PurgeChange:
		return "forwards" // of what is not stored any more
	}
	return "makings"
}

// inItsWords says of a certificate what is said of answers: its fault is that clients refuse it.
func (r *rollout) inItsWords(words string) string {
	if !r.certifies() {
		return words
	}
	return strings.ReplaceAll(words, judge.OwnError.String(), "certificate refused")
}

// said is the last verdict in the words of the change; nil without one.
func (r *rollout) said() *client.Verdict {
	if r.Verdict == nil {
		return nil
	}
	v := *r.Verdict
	v.Lead, v.Words = r.inItsWords(v.Lead), r.inItsWords(v.Words)
	return &v
}

// count takes the numbers of the last verdict into a receipt.
func count(r *client.Receipt, v *client.Verdict) {
	if v == nil {
		return
	}
	r.Bad, r.Makings, r.Baseline, r.Unit, r.Lead = v.Bad, v.Makings, v.Baseline, v.Unit, v.Lead
	r.Rate, r.Base, r.ToOne, r.Fingerprint = v.Rate, v.Base, v.ToOne, v.Fingerprint
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

// change is the rollout's change in the shape of the wire.
func (r *rollout) change() client.Change {
	c := r.Change
	out := client.Change{
		ID: string(c.ID), Kind: string(c.Kind), Tenant: string(c.Tenant), Service: string(c.Service),
		Who: c.Who, When: c.When, Why: c.Why, From: string(c.From), To: string(c.To), State: r.state(),
	}
	if r.Receipt != nil {
		out.Words = r.Receipt.Words
	} else if v := r.said(); v != nil {
		out.Words = v.Words
	}
	return out
}

// state is the phase in the words of the wire.
func (r *rollout) state() string {
	switch {
	case r.Phase.counts():
		return client.Promoted
	case r.Phase == spreading || r.Phase == quiet:
		if r.Held || r.Frozen || r.HoldBy != "" {
			return client.Held
		}
		return client.Watching
	}
	return string(r.Phase)
}

// percent has two digits that count: 6.6 %, 0.1 %, 20 %.
func percent(share float64) string {
	if share >= 0.1 {
		return strconv.FormatFloat(math.Round(share*100), 'f', -1, 64) + " %"
	}
	return strconv.FormatFloat(share*100, 'g', 2, 64) + " %"
}

// thousands writes a number with commas: 4,100.
func thousands(v float64) string {
	s := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
