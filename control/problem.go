package control

import (
	"encoding/json"
	"net/http"

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
