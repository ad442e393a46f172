package control

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

// Changes is what the control API asks of rollouts.
type Changes interface {
	// Submit asks for a change of a manifest that is a blob already. It checks the whole of it.
	Submit(ctx context.Context, s client.Submission, who string) (client.Change, error)
	// Ask asks something of a rollout: undo, hold, promote, break-glass.
	Ask(ctx context.Context, a Asking) error
	// Status says how a change's rollout stands, or the last of a service, or the last of all.
	Status(ctx context.Context, service, change string) (client.Rollout, error)
	// Watch tells how it goes on until it has an outcome or ctx ends.
	Watch(ctx context.Context, change string) iter.Seq2[client.Progress, error]
	// Record puts an entry into the log that is about no rollout.
	Record(ctx context.Context, fact client.LogFact) error
}

// Passer makes what lets requests meet one arm of a running rollout.
type Passer interface {
	Pass(ctx context.Context, service, change string, r client.PassRequest, who string) (client.Pass, error)
}

// History is what was.
type History interface {
	// Changes gives the last so many changes, the newest first.
	Changes(ctx context.Context, most int) ([]client.Change, error)
	// Log gives the entries of the log after a position, to its end as it is now.
	Log(ctx context.Context, after uint64) iter.Seq2[client.LogEntry, error]
	// Revisions gives those of a service, or of all if it is empty, the newest first.
	Revisions(ctx context.Context, service string) ([]client.Revision, error)
	// Manifest gives a revision with its manifest, by its id or the unique beginning of it.
	Manifest(ctx context.Context, id string) (client.Revision, []byte, error)
	// Plan says what a manifest would change. Nothing is kept of it.
	Plan(ctx context.Context, manifest []byte) (client.Plan, error)
}

// Asking is something that somebody wants of a rollout.
type Asking struct {
	What    string // undo, hold, promote, break-glass
	Change  string // empty: the last of the service, or of all
	Service string
	Who     string
	Why     string
}

// last is written for the last change, where a path needs one.
const last = "last"

func named(change string) string {
	if change == last {
		return ""
	}
	return change
}

// Bounds on lists.
const (
	changesMost  = 1000 // changes that are looked at for a list
	changesShown = 50   // of a page, where nobody says
	logShown     = 200
)

// ChangePath names a change in a path.
type ChangePath struct {
	Change  string `path:"change" maxLength:"64" doc:"its id, or last"`
	Service string `query:"service" maxLength:"63" doc:"of last: of this service only"`
}

type rolloutOutput struct{ Body client.Rollout }

func (s *Server) changeOperations(api huma.API) {
	type changed struct{ Body client.Change }
	registerChange(s, api, huma.Operation{
		OperationID: "change-submit", Method: http.MethodPost, Path: "/v1/changes", DefaultStatus: http.StatusAccepted,
		Summary: "Deploy a revision", Description: "The manifest and its files are blobs already. When this is answered the change stands in the log and will have an outcome.",
	}, func(ctx context.Context, in *struct{ Body client.Submission }) (*changed, error) {
		if err := s.ownTenant(in.Body.Tenant); err != nil {
			return nil, err
		}
		c, err := s.Changes.Submit(ctx, in.Body, whoAsks(ctx).name)
		return &changed{c}, err
	})
	registerChange(s, api, huma.Operation{
		OperationID: "change-show", Method: http.MethodGet, Path: "/v1/changes/{change}", Summary: "One change",
	}, func(ctx context.Context, in *ChangePath) (*changed, error) {
		r, err := s.Changes.Status(ctx, in.Service, named(in.Change))
		return &changed{r.Change}, err
	})
	registerChange(s, api, huma.Operation{
		OperationID: "change-undo", Method: http.MethodPost, Path: "/v1/changes/{change}/undo",
		Summary: "Undo a change", Description: "A rollout that runs, or what is promoted. It is never gated.",
	}, func(ctx context.Context, in *struct {
		ChangePath
		Body client.Reason
	}) (*rolloutOutput, error) {
		return s.ask(ctx, in.ChangePath, "undo", in.Body.Why)
	})
	s.listChanges(api)
	s.rolloutOperations(api)
	s.logOperation(api)
}

func (s *Server) ownTenant(tenant string) error {
	if tenant != "" && selvage.Tenant(tenant) != s.tenant() {
		return selvage.Errorf(selvage.Denied, "this node is of the tenant %s, not of %q", s.tenant(), tenant)
	}
	return nil
}

func (s *Server) ask(ctx context.Context, at ChangePath, what, why string) (*rolloutOutput, error) {
	before, err := s.Changes.Status(ctx, at.Service, named(at.Change))
	if err != nil {
		return nil, err
	}
	err = s.Changes.Ask(ctx, Asking{what, before.Change.ID, before.Change.Service, whoAsks(ctx).name, why})
	if err != nil {
		return nil, err
	}
	after, err := s.Changes.Status(ctx, "", before.Change.ID)
	return &rolloutOutput{after}, err
}

func (s *Server) listChanges(api huma.API) {
	type page struct {
		Service string `query:"service" maxLength:"63"`
		Before  string `query:"before" maxLength:"64" doc:"a change's id: those that are older"`
		Most    int    `query:"most" minimum:"1" maximum:"500" doc:"how many; 50 without"`
	}
	type list struct{ Body client.ChangeList }
	registerChange(s, api, huma.Operation{
		OperationID: "change-list", Method: http.MethodGet, Path: "/v1/changes", Summary: "The changes, the newest first",
	}, func(ctx context.Context, in *page) (*list, error) {
		all, err := s.History.Changes(ctx, changesMost)
		if err != nil {
			return nil, err
		}
		if in.Before != "" {
			i := slices.IndexFunc(all, func(c client.Change) bool { return c.ID == in.Before })
			if i < 0 {
				return nil, selvage.Errorf(selvage.NotFound, "change %q: there is none of that name among the last %d", in.Before, changesMost)
			}
			all = all[i+1:]
		}
		if in.Service != "" {
			all = slices.DeleteFunc(all, func(c client.Change) bool { return c.Service != in.Service })
		}
		out := new(list)
		if most := orDefault(in.Most, changesShown); len(all) > most {
			out.Body.Next, all = all[most-1].ID, all[:most]
		}
		out.Body.Changes = append([]client.Change{}, all...)
		return out, nil
	})
}

func orDefault[N int | int64](v, fallback N) N {
	if v == 0 {
		return fallback
	}
	return v
}

func (s *Server) rolloutOperations(api huma.API) {
	type list struct{ Body client.RolloutList }
	registerChange(s, api, huma.Operation{
		OperationID: "rollout-list", Method: http.MethodGet, Path: "/v1/rollouts", Summary: "The last rollout of each service",
	}, func(ctx context.Context, _ *struct{}) (*list, error) {
		changes, err := s.History.Changes(ctx, changesMost)
		if err != nil {
			return nil, err
		}
		out, seen := new(list), map[string]bool{}
		out.Body.Rollouts = []client.Rollout{}
		for _, c := range changes {
			if seen[c.Service] {
				continue
			}
			seen[c.Service] = true
			r, err := s.Changes.Status(ctx, c.Service, "")
			if err != nil {
				return nil, err
			}
			out.Body.Rollouts = append(out.Body.Rollouts, r)
		}
		return out, nil
	})
	registerChange(s, api, huma.Operation{
		OperationID: "rollout-show", Method: http.MethodGet, Path: "/v1/rollouts/{change}", Summary: "How a rollout stands",
	}, func(ctx context.Context, in *ChangePath) (*rolloutOutput, error) {
		r, err := s.Changes.Status(ctx, in.Service, named(in.Change))
		return &rolloutOutput{r}, err
	})
	registerChange(s, api, huma.Operation{
		OperationID: "rollout-ask", Method: http.MethodPost, Path: "/v1/rollouts/{change}/{action}",
		Summary:     "Hold, promote or break the glass",
		Description: "hold stops where it stands; promote ends a hold or a wait and opens no gate; break-glass shortens the gates and leaves none out.",
	}, func(ctx context.Context, in *struct {
		ChangePath
		Action string `path:"action" enum:"hold,promote,break-glass"`
		Body   client.Reason
	}) (*rolloutOutput, error) {
		return s.ask(ctx, in.ChangePath, in.Action, in.Body.Why)
	})
	type pass struct{ Body client.Pass }
	registerChange(s, api, huma.Operation{
		OperationID: "rollout-pass", Method: http.MethodPost, Path: "/v1/rollouts/{change}/pass",
		Summary:     "A pass to one arm of a running rollout",
		Description: "Requests that carry it in the field meet that arm, are not counted in the judging, and their answers say which arm made them.",
	}, func(ctx context.Context, in *struct {
		ChangePath
		Body client.PassRequest
	}) (*pass, error) {
		p, err := s.Passes.Pass(ctx, in.Service, named(in.Change), in.Body, whoAsks(ctx).name)
		return &pass{p}, err
	})
	s.eventOperation(api)
}

// keepAlive is how often a stream without news says that it is there.
const keepAlive = 10 * time.Second

func (s *Server) eventOperation(api huma.API) {
	registerChange(s, api, huma.Operation{
		OperationID: "rollout-events", Method: http.MethodGet, Path: "/v1/rollouts/{change}/events",
		Summary:     "A rollout's progress, as server-sent events",
		Description: "Each event is a Progress; the last one is an outcome, and then the stream ends. Whoever comes again is told first how it stands.",
		Responses: map[string]*huma.Response{"200": {
			Description: "Events named progress, with a Progress as JSON; an event named problem ends the stream.",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: api.OpenAPI().Components.Schemas.Schema(progressType, true, "")}},
		}},
	}, func(ctx context.Context, in *ChangePath) (*huma.StreamResponse, error) {
		r, err := s.Changes.Status(ctx, in.Service, named(in.Change))
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			hc.SetHeader("Content-Type", "text/event-stream")
			hc.SetHeader("Cache-Control", "no-store")
			w := hc.BodyWriter()
			flush, ok := w.(http.Flusher)
			if !ok {
				flush = nobody{}
			}
			s.stream(hc.Context(), r.Change.ID, func(event string, id uint64, v any) error {
				data, err := json.Marshal(v)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(w, "event: %s\nid: %d\ndata: %s\n\n", event, id, data)
				flush.Flush()
				return err
			})
		}}, nil
	})
}

// nobody is a writer's flusher where it has none.
type nobody struct{}

// Flush is http.Flusher.
func (nobody) Flush() {}

// stream tells a rollout's progress until it is over or the client is gone.
func (s *Server) stream(ctx context.Context, change string, send func(event string, id uint64, v any) error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	news := make(chan func() error)
	ended := make(chan struct{})
	go func() { // waited for below
		defer close(ended)
		tell := func(f func() error) bool {
			select {
			case news <- f:
				return true
			case <-ctx.Done():
				return false
			}
		}
		for p, err := range s.Changes.Watch(ctx, change) {
			if err != nil {
				tell(func() error { return send("problem", 0, problemFor(err)) })
				return
			}
			if !tell(func() error { return send("progress", p.Seq, p) }) {
				return
			}
		}
	}()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		select {
		case f := <-news:
			if f() != nil {
				stop()
			}
		case <-alive.C:
			if send("alive", 0, struct{}{}) != nil {
				stop()
			}
		case <-ended:
			return
		}
	}
}

func (s *Server) logOperation(api huma.API) {
	type page struct {
		After uint64 `query:"after" doc:"a position: the entries behind it"`
		Most  int    `query:"most" minimum:"1" maximum:"1000" doc:"how many; 200 without"`
	}
	type list struct{ Body client.LogPage }
	registerChange(s, api, huma.Operation{
		OperationID: "log", Method: http.MethodGet, Path: "/v1/log", Summary: "The log of changes, to be verified by who reads it",
	}, func(ctx context.Context, in *page) (*list, error) {
		out, most := new(list), orDefault(in.Most, logShown)
		out.Body.Entries = []client.LogEntry{}
		for e, err := range s.History.Log(ctx, in.After) {
			if err != nil {
				return nil, err
			}
			if out.Body.More = len(out.Body.Entries) >= most; out.Body.More {
				break
			}
			out.Body.Entries = append(out.Body.Entries, e)
		}
		return out, nil
	})
}

func problemFor(err error) client.Problem {
	kind, status := selvage.KindOf(err), statusOf(err)
	return client.Problem{
		Type: problemBase + string(kind), Title: http.StatusText(status), Status: status, Detail: err.Error(),
	}
}

// sizeText is a number of bytes in a header field.
func sizeText(n int64) string { return strconv.FormatInt(n, 10) }
