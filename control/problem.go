package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

// problemBase is before the kind in a problem's type.
const problemBase = "tag:selvage-edge.github.io,2026:problem/"

// problem answers with an error (RFC 9457).
func problem(w http.ResponseWriter, status int, kind selvage.Kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(client.Problem{ // the server sees that the client is gone
		Type: problemBase + string(kind), Title: http.StatusText(status), Status: status, Detail: detail,
	})
}

// statusOf is the status for an error's kind.
func statusOf(err error) int {
	switch selvage.KindOf(err) {
	case selvage.Invalid:
		return http.StatusUnprocessableEntity
	case selvage.NotFound:
		return http.StatusNotFound
	case selvage.Conflict:
		return http.StatusConflict
	case selvage.Unavailable:
		return http.StatusServiceUnavailable
	case selvage.Denied:
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}

// kindOf is what can be done about a status.
func kindOf(status int) selvage.Kind {
	switch status {
	case http.StatusNotFound:
		return selvage.NotFound
	case http.StatusConflict:
		return selvage.Conflict
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return selvage.Unavailable
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest:
		return selvage.Denied
	}
	if status >= 500 {
		return selvage.Internal
	}
	return selvage.Invalid
}

// register adds an operation whose errors have kinds.
func register[I, O any](api huma.API, op huma.Operation, do func(context.Context, *I) (*O, error)) {
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err == nil {
			return out, nil
		}
		if se, ok := errors.AsType[huma.StatusError](err); ok {
			return nil, se
		}
		return nil, huma.NewError(statusOf(err), err.Error())
	})
}

// registerChange adds an operation that a node without rollouts cannot do.
func registerChange[I, O any](s *Server, api huma.API, op huma.Operation, do func(context.Context, *I) (*O, error)) {
	register(api, op, func(ctx context.Context, in *I) (*O, error) {
		if s.Changes == nil || s.History == nil || s.Passes == nil {
			return nil, selvage.Errorf(selvage.Unavailable, "this node takes no changes: it serves its files alone")
		}
		return do(ctx, in)
	})
}

// What a problem tells at most, so that nobody is sent back what he sent.
const (
	detailMost = 4 << 10 // bytes of a text
	valueMost  = 200     // bytes of JSON of a value that was wrong; a longer one is left out
	wrongShown = 20      // values that were wrong
)

// withKind gives the errors of the library our types, and bounds.
func withKind(_ huma.Context, status string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	code, _ := strconv.Atoi(status) // what is no number is no error of ours
	m.Type = problemBase + string(kindOf(code))
	m.Detail = atMost(m.Detail)
	m.Errors = m.Errors[:min(len(m.Errors), wrongShown)]
	for i, e := range m.Errors {
		short := huma.ErrorDetail{Message: atMost(e.Message), Location: atMost(e.Location)}
		if data, err := json.Marshal(e.Value); err == nil && len(data) <= valueMost {
			short.Value = e.Value
		}
		m.Errors[i] = &short
	}
	return m, nil
}

// atMost is the beginning of a text.
func atMost(text string) string {
	if len(text) <= detailMost {
		return text
	}
	return strings.ToValidUTF8(text[:detailMost], "") + " …"
}
