package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

// Purger makes every node forget answers. node.Node does.
type Purger interface {
	Purge(ctx context.Context, r client.PurgeRequest, who string) (*client.Purge, error)
	PurgeReceipts(ctx context.Context, position uint64) (*client.Purge, error)
}

// purges are the paths of purges: ours, and those of Fastly's API, so that what
// purges there purges here.
func (s *Server) purges(api huma.API, mux *http.ServeMux) {
	type output struct{ Body *client.Purge }
	register(api, huma.Operation{
		OperationID: "purge", Method: http.MethodPost, Path: "/v1/purges",
		Summary:     "Make every node forget answers",
		Description: "By tag, URL and service, hard or soft. Answers when all nodes have applied it, or after wait_ms with those that are missing.",
	}, func(ctx context.Context, in *struct{ Body client.PurgeRequest }) (*output, error) {
		p, err := s.Purger.Purge(ctx, in.Body, whoAsks(ctx).name)
		return &output{p}, err
	})
	register(api, huma.Operation{
		OperationID: "purge-receipts", Method: http.MethodGet, Path: "/v1/purges/{position}",
		Summary: "Which nodes have applied the purges up to a position",
	}, func(ctx context.Context, in *struct {
		Position uint64 `path:"position" minimum:"1"`
	}) (*output, error) {
		p, err := s.Purger.PurgeReceipts(ctx, in.Position)
		return &output{p}, err
	})
	mux.HandleFunc("POST /service/{service}/purge_all", s.fastlyPurge)
	mux.HandleFunc("POST /service/{service}/purge", s.fastlyPurge)
	mux.HandleFunc("POST /service/{service}/purge/{key...}", s.fastlyPurge)
	mux.HandleFunc("POST /purge/{url...}", s.fastlyPurge)
	mux.HandleFunc("PURGE /{url...}", s.fastlyPurge)
}

// maxFastlyBody bounds the list of keys of a batch, in bytes. maxFastlyKeys is Fastly's own bound.
const (
	maxFastlyBody = 1 << 20
	maxFastlyKeys = 256
)

// fastlyKey is where Fastly's clients put their token.
const fastlyKey = "Fastly-Key"

// isFastly says whether a request has the form of Fastly's API.
func isFastly(r *http.Request) bool {
	return r.Method == "PURGE" || strings.HasPrefix(r.URL.Path, "/service/") || strings.HasPrefix(r.URL.Path, "/purge/")
}

// fastlyPurge answers Fastly's purge paths, in Fastly's shapes:
// https://www.fastly.com/documentation/reference/api/purging/
func (s *Server) fastlyPurge(w http.ResponseWriter, r *http.Request) {
	keys, err := fastlyKeys(r)
	if err != nil {
		fastlyError(w, err)
		return
	}
	p, err := s.Purger.Purge(r.Context(), client.PurgeRequest{
		What: keys.what, Service: r.PathValue("service"), Soft: r.Header.Get("Fastly-Soft-Purge") == "1",
	}, whoAsks(r.Context()).name)
	if err == nil && !p.Complete {
		err = selvage.Errorf(selvage.Unavailable, "position %d: not all nodes have applied it", p.Position)
	}
	if err != nil {
		fastlyError(w, err)
		return
	}
	id := purgeID(p)
	switch {
	case keys.batch:
		ids := make(map[string]string, len(keys.what))
		for _, tag := range keys.what {
			ids[strings.TrimPrefix(tag, "tag:")] = id
		}
		fastlyJSON(w, http.StatusOK, ids)
	case keys.all:
		fastlyJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	default:
		fastlyJSON(w, http.StatusOK, map[string]string{"status": "ok", "id": id})
	}
}

// fastlyKeyList is what a request in Fastly's form means.
type fastlyKeyList struct {
	what       []string
	batch, all bool
}

func fastlyKeys(r *http.Request) (k fastlyKeyList, err error) {
	service := r.PathValue("service")
	switch {
	case strings.HasSuffix(r.Pattern, "/purge_all"):
		return fastlyKeyList{what: []string{"service:" + service}, all: true}, nil
	case r.PathValue("key") != "":
		return fastlyKeyList{what: []string{"tag:" + r.PathValue("key")}}, nil
	case service == "":
		return fastlyURL(r)
	}
	keys := strings.Fields(strings.Join(r.Header["Surrogate-Key"], " "))
	if len(keys) == 0 {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxFastlyBody))
		if err != nil {
			return k, selvage.Errorf(selvage.Invalid, "read the keys: %w", err)
		}
		var in struct {
			Keys []string `json:"surrogate_keys"`
		}
		if err := json.Unmarshal(body, &in); err != nil {
			return k, selvage.Errorf(selvage.Invalid, "surrogate_keys: %w", err)
		}
		keys = in.Keys
	}
	if len(keys) == 0 || len(keys) > maxFastlyKeys {
		return k, selvage.Errorf(selvage.Invalid, "a batch has 1 to %d surrogate keys, this one has %d", maxFastlyKeys, len(keys))
	}
	k.batch = true
	for _, key := range keys {
		k.what = append(k.what, "tag:"+key)
	}
	return k, nil
}

// fastlyURL is the URL behind /purge/ or of PURGE, with or without a scheme.
func fastlyURL(r *http.Request) (k fastlyKeyList, err error) {
	u := strings.TrimPrefix(r.URL.EscapedPath(), "/")
	if r.Method != "PURGE" {
		u = strings.TrimPrefix(u, "purge/")
	}
	for _, scheme := range []string{"http://", "https://", "http:/", "https:/"} { // paths lose a slash on their way
		if rest, ok := strings.CutPrefix(u, scheme); ok {
			u = rest
			break
		}
	}
	if u == "" {
		return k, selvage.Errorf(selvage.Invalid, "the URL is missing")
	}
	if r.URL.RawQuery != "" {
		u += "?" + r.URL.RawQuery
	}
	return fastlyKeyList{what: []string{"http://" + u}}, nil
}

// purgeID is what names a purge to Fastly's clients.
func purgeID(p *client.Purge) string {
	text, _ := json.Marshal(p.Position) // a number always can be
	return p.Incarnation + "-" + string(text)
}

func fastlyJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the server sees that the client is gone
}

// fastlyError answers in Fastly's shape of errors.
func fastlyError(w http.ResponseWriter, err error) {
	status := statusOf(err)
	if status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest
	}
	if errors.Is(err, context.Canceled) {
		status = http.StatusServiceUnavailable
	}
	fastlyJSON(w, status, map[string]string{"msg": http.StatusText(status), "detail": err.Error()})
}
