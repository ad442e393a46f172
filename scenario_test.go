package selvage_test

import (
	"net/http"
	"testing"

	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/edgetest"
	"github.com/selvage-edge/selvage/node"
)

// TestScenarios plays every whole-edge promise against the real node.
func TestScenarios(t *testing.T) { edgetest.PlayAll(t, "testdata/scenario", startNode) }

// realEdge is a node that is configured by files.
type realEdge struct{ *node.Node }

func startNode(s edgetest.Setup) (edgetest.Edge, error) {
	loaded, err := config.Load(s.Node, s.Services)
	if err != nil {
		return nil, err
	}
	n, err := node.New(node.Options{Config: loaded.Config, Log: s.Log, Listen: s.Listen, Dial: s.Dial, Resolve: s.Resolve})
	if err != nil {
		return nil, err
	}
	return realEdge{n}, nil
}

func (e realEdge) Reload(nodeFile string, services []string) error {
	loaded, err := config.Load(nodeFile, services)
	if err != nil {
		return err
	}
	_, err = e.Node.Reload(loaded.Config)
	return err
}

func (e realEdge) Metrics() http.Handler { return e.Node.Metrics() }
