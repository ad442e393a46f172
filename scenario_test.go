package selvage_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/edgetest"
	"github.com/selvage-edge/selvage/node"
	"github.com/selvage-edge/selvage/rollout"
)

// TestScenarios plays every whole-edge promise against the real node.
func TestScenarios(t *testing.T) { edgetest.PlayAll(t, "testdata/scenario", startNode) }

// realEdge is a node that is configured by files.
type realEdge struct {
	*node.Node
	changes *changes
}

func startNode(s edgetest.Setup) (edgetest.Edge, error) {
	loaded, err := config.Load(s.Node, s.Services)
	if err != nil {
		return nil, err
	}
	n, err := node.New(node.Options{Config: loaded.Config, Log: s.Log, Listen: s.Listen, Dial: s.Dial, Resolve: s.Resolve})
	if err != nil {
		return nil, err
	}
	return realEdge{n, &changes{node: n, watch: new(rollout.Watch)}}, nil
}

func (e realEdge) Reload(nodeFile string, services []string) error {
	loaded, err := config.Load(nodeFile, services)
	if err != nil {
		return err
	}
	_, err = e.Node.Reload(loaded.Config)
	return err
}

func (e realEdge) Purge(ctx context.Context, what []string, soft bool) error {
	p, err := e.Node.Purge(ctx, client.PurgeRequest{What: what, Soft: soft}, "scenario")
	if err == nil && !p.Complete {
		err = fmt.Errorf("receipts are missing: %+v", p.Missing)
	}
	return err
}

func (e realEdge) Metrics() http.Handler { return e.Node.Metrics() }

// changes leads rollouts as a scenario says, without judging anything.
type changes struct {
	node  *node.Node
	watch *rollout.Watch
	last  int
	name  selvage.ServiceName
	arms  rollout.Arms
	past  []selvage.RevisionID
}

func (c *changes) prepare(file string) (selvage.RevisionID, error) {
	loaded, err := config.Load("", []string{file})
	if err != nil {
		return "", err
	}
	s := loaded.Services[0]
	if c.name != "" && s.Service != c.name {
		return "", errors.New("a scenario changes one service")
	}
	c.name = s.Service
	id := config.Revision(s)
	return id, c.node.Prepare(context.Background(), rollout.Revision{ID: id, Tenant: selvage.DefaultTenant, Service: s})
}

func (c *changes) serve(a rollout.Arms) error {
	if err := c.node.Serve(c.name, a, c.watch); err != nil {
		return err
	}
	c.arms = a
	return nil
}

func (e realEdge) Deploy(file string) error {
	c := e.changes
	id, err := c.prepare(file)
	if err != nil {
		return err
	}
	c.past = append(c.past, c.arms.Baseline)
	return c.serve(rollout.Arms{Baseline: id})
}

func (e realEdge) Canary(file string, share float64) error {
	c, a := e.changes, e.changes.arms
	if file != "" {
		id, err := c.prepare(file)
		if err != nil {
			return err
		}
		c.last++
		a.Canary, a.Change = id, selvage.ChangeID(fmt.Sprintf("c-%d", c.last))
	}
	a.Share = share
	return c.serve(a)
}

func (e realEdge) Promote() error {
	c := e.changes
	c.past = append(c.past, c.arms.Baseline)
	return c.serve(rollout.Arms{Baseline: c.arms.Canary})
}

func (e realEdge) Undo() error {
	c := e.changes
	if c.arms.Canary != "" || len(c.past) == 0 {
		return c.serve(rollout.Arms{Baseline: c.arms.Baseline})
	}
	old := c.past[len(c.past)-1]
	c.past = c.past[:len(c.past)-1]
	return c.serve(rollout.Arms{Baseline: old})
}
