package selvage

import (
	"fmt"
	"strings"
)

// Protocol is what is spoken to an origin.
type Protocol string

// The protocols.
const (
	HTTP1 Protocol = "http1"
	H2    Protocol = "h2"
	H2C   Protocol = "h2c"
)

// Values lists what a file may say.
func (Protocol) Values() []string { return []string{"http1", "h2", "h2c"} }

// UnmarshalText reads one of the values.
func (p *Protocol) UnmarshalText(text []byte) error {
	switch v := Protocol(text); v {
	case HTTP1, H2, H2C:
		*p = v
		return nil
	}
	return fmt.Errorf("%q is not a protocol: write http1, h2 or h2c", text)
}

// ReplayChoice says whether a route's recorded requests may be played again.
type ReplayChoice string

// The choices beside none, which leaves it to whether the route has a cache.
const (
	ReplaySafe  ReplayChoice = "safe"
	ReplayNever ReplayChoice = "never"
)

// Values lists what a file may say.
func (ReplayChoice) Values() []string { return []string{"safe", "never"} }

// UnmarshalText reads one of the values.
func (c *ReplayChoice) UnmarshalText(text []byte) error {
	switch v := ReplayChoice(text); v {
	case ReplaySafe, ReplayNever:
		*c = v
		return nil
	}
	return fmt.Errorf("%q does not say whether to replay: write safe or never", text)
}

// LimitKey says who shares one allowance of a [Limit]: client, route, or header:NAME.
type LimitKey string

// The fixed keys.
const (
	PerClient LimitKey = "client"
	PerRoute  LimitKey = "route"
)

// Header is the field of a key of the form header:NAME.
func (k LimitKey) Header() (name string, ok bool) { return strings.CutPrefix(string(k), "header:") }

// UnmarshalText reads a key.
func (k *LimitKey) UnmarshalText(text []byte) error {
	v := LimitKey(text)
	if name, ok := v.Header(); v != PerClient && v != PerRoute && (!ok || name == "") {
		return fmt.Errorf("%q is not a limit's key: write client, route or header:NAME", text)
	}
	*k = v
	return nil
}

// LogChoice says which requests of a route are written to the access log.
// Errors are written unless it is none.
type LogChoice struct {
	// The share of good requests that are written, 0 to 1.
	Share float64
	// Errors are written.
	Errors bool
}

// UnmarshalText reads all, errors, none or a share such as 1%.
func (c *LogChoice) UnmarshalText(text []byte) error {
	switch string(text) {
	case "all":
		*c = LogChoice{1, true}
	case "errors":
		*c = LogChoice{0, true}
	case "none":
		*c = LogChoice{}
	default:
		var p Percent
		if err := p.UnmarshalText(text); err != nil || p == 0 {
			return fmt.Errorf("%q does not say what is logged: write all, errors, none or a share such as 1%%", text)
		}
		*c = LogChoice{float64(p), true}
	}
	return nil
}

// MarshalText writes the choice as it is read.
func (c LogChoice) MarshalText() ([]byte, error) {
	switch {
	case c == LogChoice{}:
		return []byte("none"), nil
	case c.Share == 1:
		return []byte("all"), nil
	case c.Share == 0:
		return []byte("errors"), nil
	}
	return []byte(Percent(c.Share).String()), nil
}

// UnmarshalText reads the word stale.
func (r *Rung) UnmarshalText(text []byte) error {
	if string(text) != "stale" {
		return fmt.Errorf("%q is not a step of the failure ladder: write stale, or default with its answer", text)
	}
	*r = Rung{Stale: true}
	return nil
}
