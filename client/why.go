package client

import (
	"context"
	"net/http"
	"time"
)

// WhyRequest asks what the cache would do with a request.
type WhyRequest struct {
	URL    string   `json:"url" maxLength:"8192" doc:"absolute, http or https"`
	Method string   `json:"method,omitempty" maxLength:"32" doc:"GET if empty"`
	Fields []string `json:"fields,omitempty" maxItems:"100" doc:"of the request's header, each as Name: value"`
	Body   string   `json:"body,omitempty" maxLength:"65536" doc:"of a QUERY"`
	From   string   `json:"from,omitempty" maxLength:"64" doc:"the client's address; 127.0.0.1 if empty"`
}

// Why is the account of what a node would do with a request now. Nobody was asked
// for it, and nothing has changed by it.
type Why struct {
	Node        string         `json:"node"`
	POP         string         `json:"pop,omitempty"`
	At          time.Time      `json:"at"`
	Verdict     string         `json:"verdict" enum:"hit,stale,forwarded,refused,answered" doc:"answered: by a policy; refused: with 404, 405 or 504"`
	Words       string         `json:"words" doc:"why, in a sentence"`
	Then        string         `json:"then,omitempty" doc:"what follows at the origin"`
	Service     string         `json:"service"`
	Route       string         `json:"route,omitempty"`
	Revision    string         `json:"revision"`
	Change      string         `json:"change,omitempty" doc:"of the running rollout"`
	Arm         string         `json:"arm,omitempty" doc:"which side of the rollout this client is on"`
	Steps       []WhyStep      `json:"steps" doc:"what each rule says, in the order in which they are looked at"`
	CacheStatus string         `json:"cache_status,omitempty" doc:"what Cache-Status would say (RFC 9211), as far as is known before the origin answers"`
	Elsewhere   []WhyElsewhere `json:"elsewhere,omitempty" doc:"what other nodes would do"`
}

// WhyStep is what one rule says.
type WhyStep struct {
	Rule    string    `json:"rule" doc:"one word: route, key, variant, lifetime, age, fresh, stored, tags, purge, stale …"`
	Words   string    `json:"words"`
	Section string    `json:"section,omitempty" doc:"of the RFC that the rule comes from; policy where it is the service's own"`
	Against bool      `json:"against,omitempty" doc:"it keeps what is stored from being used"`
	Purge   *WhyPurge `json:"purge,omitempty"`
}

// WhyPurge is a purge that touched what is stored.
type WhyPurge struct {
	Position uint64    `json:"position" doc:"in the feed of purges"`
	At       time.Time `json:"at"`
	Who      string    `json:"who,omitempty"`
}

// WhyElsewhere is another node's verdict.
type WhyElsewhere struct {
	Node    string `json:"node"`
	POP     string `json:"pop,omitempty"`
	Verdict string `json:"verdict,omitempty" doc:"empty: it was not asked"`
	Words   string `json:"words"`
}

// Why asks what the cache would do with a request, and why.
func (c *Client) Why(ctx context.Context, r WhyRequest) (*Why, error) {
	w := new(Why)
	return w, c.send(ctx, http.MethodPost, "/v1/why", r, w)
}
