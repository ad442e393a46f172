package client

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// PurgeRequest asks every node to forget answers.
type PurgeRequest struct {
	What    []string `json:"what" minItems:"1" maxItems:"1000" doc:"each is tag:NAME, an absolute URL, or service:NAME for all of a service"`
	Service string   `json:"service,omitempty" doc:"whose tags are meant, and whose URLs; may be left out for a URL, and where there is one service only"`
	Soft    bool     `json:"soft,omitempty" doc:"what it hits is stale afterwards, not gone"`
	Preview bool     `json:"preview,omitempty" doc:"only say what it would hit"`
	WaitMS  int      `json:"wait_ms,omitempty" minimum:"0" maximum:"60000" doc:"milliseconds to wait for receipts; 5000 if 0"`
	ID      string   `json:"id,omitempty" maxLength:"100" doc:"makes a repetition within ten minutes harmless"`
}

// Purge is a purge and its receipts.
type Purge struct {
	What        []string       `json:"what"`
	Soft        bool           `json:"soft"`
	Preview     bool           `json:"preview,omitempty"`
	Who         string         `json:"who,omitempty"`
	Position    uint64         `json:"position" doc:"in the feed of purges"`
	Incarnation string         `json:"incarnation" doc:"which life of the feed"`
	Complete    bool           `json:"complete" doc:"every node has applied it"`
	Receipts    []PurgeReceipt `json:"receipts" doc:"in the order of the nodes' names"`
	Missing     []MissingNode  `json:"missing,omitempty"`
}

// PurgeReceipt says that a node has applied a purge.
type PurgeReceipt struct {
	Node string    `json:"node"`
	POP  string    `json:"pop,omitempty"`
	MS   float64   `json:"ms" doc:"milliseconds from the append to its being applied, as the node measured it"`
	At   time.Time `json:"at"`
	Hits *Hits     `json:"hits,omitempty" doc:"of a preview"`
}

// Hits is what a purge would hit on a node, and what that means for the origin.
type Hits struct {
	Objects   int64   `json:"objects"`
	Bytes     int64   `json:"bytes" doc:"of memory, with overhead"`
	PerSecond float64 `json:"per_second" doc:"how often a second these objects were asked for since they were stored; each is fetched once"`
}

// MissingNode is a node without a receipt.
type MissingNode struct {
	Node     string    `json:"node"`
	POP      string    `json:"pop,omitempty"`
	LastSeen time.Time `json:"last_seen,omitzero"`
}

// Purge asks for a purge and waits for its receipts. Without all of them it is
// no error: see Complete.
func (c *Client) Purge(ctx context.Context, r PurgeRequest) (*Purge, error) {
	p := new(Purge)
	return p, c.send(ctx, http.MethodPost, "/v1/purges", r, p)
}

// PurgeReceipts asks which nodes have applied the purges up to a position.
func (c *Client) PurgeReceipts(ctx context.Context, position uint64) (*Purge, error) {
	p := new(Purge)
	return p, c.get(ctx, fmt.Sprintf("/v1/purges/%d", position), p)
}
