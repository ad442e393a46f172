package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/state"
)

// What a purge waits for.
const (
	defaultReceiptWait = 5 * time.Second
	maxReceiptWait     = time.Minute
)

// Purge appends a purge to the feed and waits for the receipts of all nodes. A
// receipt that is missing is no error. who asks for it is noted.
func (n *Node) Purge(ctx context.Context, r client.PurgeRequest, who string) (*client.Purge, error) {
	items, err := n.parsePurge(r.What, r.Service)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(purge{What: r.What, Soft: r.Soft, Preview: r.Preview, Who: who, Of: items})
	if err != nil {
		return nil, err
	}
	nodes, err := n.nodes(ctx)
	if err != nil {
		return nil, err
	}
	id := ""
	if r.ID != "" {
		id = "purge-" + r.ID
	}
	at, err := n.state.Feeds.Append(ctx, n.purgeKey(), state.Entry{ID: id, Data: data})
	if err != nil {
		return nil, selvage.Errorf(selvage.KindOf(err), "append purge: %w", err)
	}
	wait := min(time.Duration(r.WaitMS)*time.Millisecond, maxReceiptWait)
	if wait <= 0 {
		wait = defaultReceiptWait
	}
	out := &client.Purge{What: r.What, Soft: r.Soft, Preview: r.Preview, Who: who}
	if err := n.fillReceipts(ctx, out, at, nodes, wait); err != nil {
		return nil, err
	}
	if r.Preview {
		return out, n.fillHits(ctx, out, at)
	}
	return out, nil
}

// guestPurgeWait is how long a function that purges waits for the receipts of all
// nodes. Who is late applies it before it serves what was purged.
const guestPurgeWait = time.Second

// purgeTag makes every node forget what carries a tag, for a function.
func (n *Node) purgeTag(ctx context.Context, service selvage.ServiceName, tag string, soft bool, who string) (id string, err error) {
	p, err := n.Purge(ctx, client.PurgeRequest{
		What: []string{"tag:" + tag}, Service: string(service), Soft: soft, WaitMS: int(guestPurgeWait.Milliseconds()),
	}, who)
	if err != nil {
		return "", err
	}
	return purgeID(p), nil
}

// purgeID is the name of a purge, as those who make purges by Fastly's ways read it.
func purgeID(p *client.Purge) string { return fmt.Sprintf("%s-%d", p.Incarnation, p.Position) }

// PurgeReceipts says which nodes have applied the feed of purges up to a position.
func (n *Node) PurgeReceipts(ctx context.Context, position uint64) (*client.Purge, error) {
	head, err := n.state.Feeds.Head(ctx, n.purgeKey())
	if err != nil {
		return nil, err
	}
	if position == 0 || state.Position(position) > head.Last {
		return nil, selvage.Errorf(selvage.NotFound, "no purge is at position %d; the last one is at %d", position, head.Last)
	}
	nodes, err := n.nodes(ctx)
	if err != nil {
		return nil, err
	}
	out := new(client.Purge)
	return out, n.fillReceipts(ctx, out, state.Position(position), nodes, receiptsThere)
}

// receiptsThere is how long receipts that are there already may take to be read.
const receiptsThere = 200 * time.Millisecond

// nodes are those that must answer.
func (n *Node) nodes(ctx context.Context) (map[selvage.NodeName]state.Node, error) {
	nodes := map[selvage.NodeName]state.Node{}
	for one, err := range state.Nodes(ctx, n.state.Documents, n.tenant) {
		if err != nil {
			return nil, err
		}
		nodes[one.Name] = one
	}
	// A node that has begun a moment ago may not have said so yet.
	nodes[n.place.Node] = state.Node{Name: n.place.Node, POP: n.place.POP, Seen: time.Now()}
	return nodes, nil
}

// fillReceipts waits for receipts. Those who have ended meanwhile need none.
func (n *Node) fillReceipts(ctx context.Context, out *client.Purge, at state.Position, nodes map[selvage.NodeName]state.Node, wait time.Duration) error {
	head, err := n.state.Feeds.Head(ctx, n.purgeKey())
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	receipts, err := state.AwaitReceipts(waiting, n.state.Receipts, n.purgeKey(), at, slices.Collect(maps.Keys(nodes)))
	if err != nil && waiting.Err() == nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return selvage.Errorf(selvage.Unavailable, "await receipts: %w", err)
	}
	out.Position, out.Incarnation = uint64(at), string(head.Incarnation)
	out.Receipts = []client.PurgeReceipt{}
	for _, r := range receipts {
		out.Receipts = append(out.Receipts, client.PurgeReceipt{
			Node: string(r.Node), POP: string(nodes[r.Node].POP), MS: millis(r.Took), At: r.Time,
		})
		delete(nodes, r.Node)
	}
	if len(nodes) > 0 {
		still, err := n.nodes(ctx)
		if err != nil {
			return err
		}
		for name, one := range nodes {
			if there, ok := still[name]; ok {
				out.Missing = append(out.Missing, client.MissingNode{Node: string(name), POP: string(one.POP), LastSeen: there.Seen})
			}
		}
	}
	slices.SortFunc(out.Receipts, func(a, b client.PurgeReceipt) int { return strings.Compare(a.Node, b.Node) })
	slices.SortFunc(out.Missing, func(a, b client.MissingNode) int { return strings.Compare(a.Node, b.Node) })
	out.Complete = len(out.Missing) == 0
	return nil
}

// errNoHits is of a preview that another one has overtaken on a node, or whose count could not be written.
var errNoHits = errors.New("a node's count is not there, ask again")

func (n *Node) fillHits(ctx context.Context, out *client.Purge, at state.Position) error {
	for i := range out.Receipts {
		r := &out.Receipts[i]
		d, err := n.state.Documents.Get(ctx, n.hitsKey(selvage.NodeName(r.Node)))
		var h hits
		if err == nil {
			err = json.Unmarshal(d.Value, &h)
		}
		if err == nil && h.Position != at {
			err = errNoHits
		}
		if err != nil {
			return selvage.Errorf(selvage.Unavailable, "read what the purge would hit on node %s: %w", r.Node, err)
		}
		r.Hits = &client.Hits{Objects: h.Objects, Bytes: h.Bytes, PerSecond: h.PerSecond}
	}
	return nil
}

// methodPurge makes every node forget the URL that it is sent to.
const methodPurge = "PURGE"

// purge answers a request with that method. The service says from which
// addresses it may come; without a word of it none may.
func (x *exchange) purge() {
	rule, addr := x.rev.service.Purge, x.who.client.Unmap().WithZone("")
	if rule == nil || !slices.ContainsFunc(rule.Allow, func(p selvage.Prefix) bool { return p.Contains(addr) }) {
		x.rec.Detail = "purge: address denied"
		refuse(x.w, x.rec, http.StatusForbidden, "purging is not allowed from here")
		return
	}
	target := "http://" + x.r.Host + x.path // a purge goes by no scheme
	if x.queried {
		target += "?" + x.query
	}
	p, err := x.node.Purge(x.r.Context(), client.PurgeRequest{
		What: []string{target}, Service: string(x.rev.service.Service), Soft: x.r.Header.Get("Fastly-Soft-Purge") == "1",
	}, methodPurge+" from "+addr.String())
	switch {
	case err != nil:
		x.rec.Detail = err.Error()
		status := http.StatusServiceUnavailable
		if selvage.KindOf(err) == selvage.Invalid {
			status = http.StatusBadRequest
		}
		refuse(x.w, x.rec, status, "the purge was not done")
	case !p.Complete:
		x.rec.Detail = "purge: a receipt is missing"
		refuse(x.w, x.rec, http.StatusServiceUnavailable, "not all nodes have applied the purge yet")
	default:
		body := fmt.Sprintf("{\"status\":\"ok\",\"id\":%q}\n", purgeID(p))
		h := x.w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Length", strconv.Itoa(len(body)))
		x.w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(x.w, body) // the server sees that the client is gone
	}
}
