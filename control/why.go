package control

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/selvage-edge/selvage/client"
)

// Explainer says what a node's cache would do with a request. node.Node does.
type Explainer interface {
	Why(ctx context.Context, r client.WhyRequest) (*client.Why, error)
}

// whyOperation asks this node, and the others of its process.
func (s *Server) whyOperation(api huma.API) {
	type output struct{ Body *client.Why }
	register(api, huma.Operation{
		OperationID: "why", Method: http.MethodPost, Path: "/v1/why",
		Summary:     "What the cache would do with a request, and why",
		Description: "Rule by rule, with the section of the RFC. Asks no origin and changes nothing.",
	}, func(ctx context.Context, in *struct{ Body client.WhyRequest }) (*output, error) {
		w, err := s.Explainer.Why(ctx, in.Body)
		if err != nil {
			return nil, err
		}
		for _, other := range s.Others {
			if there, err := other.Why(ctx, in.Body); err == nil {
				w.Elsewhere = withNode(w.Elsewhere, client.WhyElsewhere{Node: there.Node, POP: there.POP, Verdict: there.Verdict, Words: there.Words})
			}
		}
		return &output{w}, nil
	})
}

// withNode puts a node's verdict into the place of what was there for the node.
func withNode(all []client.WhyElsewhere, one client.WhyElsewhere) []client.WhyElsewhere {
	i := slices.IndexFunc(all, func(w client.WhyElsewhere) bool { return w.Node == one.Node })
	if i < 0 {
		return append(all, one)
	}
	all[i] = one
	return all
}
