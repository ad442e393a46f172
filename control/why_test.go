package control

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

// toldWhy is a node with one account for all requests; of another host it knows nothing.
type toldWhy client.Why

func (n *toldWhy) Why(_ context.Context, r client.WhyRequest) (*client.Why, error) {
	if !strings.Contains(r.URL, "shop.example") {
		return nil, selvage.Errorf(selvage.NotFound, "no service has the host")
	}
	w := client.Why(*n)
	return &w, nil
}

func TestWhyAsksEveryNodeOfTheProcess(t *testing.T) {
	s := testServer(t, selvage.Admin{})
	s.Explainer = &toldWhy{Node: "ams-1", Verdict: "forwarded", Words: "purged", Elsewhere: []client.WhyElsewhere{{Node: "fra-1", Words: "not asked"}, {Node: "gru-1", Words: "not asked"}}}
	s.Others = []Explainer{&toldWhy{Node: "fra-1", POP: "fra", Verdict: "hit", Words: "52 s left"}, &toldWhy{Node: "iad-1", Verdict: "stale"}}
	for body, want := range map[string][]string{
		`{"url":"http://shop.example/"}`: {
			`"verdict":"forwarded"`, `{"node":"fra-1","pop":"fra","verdict":"hit","words":"52 s left"}`,
			`{"node":"gru-1","words":"not asked"}`, `{"node":"iad-1","verdict":"stale","words":""}`,
		},
		`{"url":"http://other.example/"}`: {`"status":404`, "no service has the host"},
		`{}`:                              {`"status":422`, "url"},
	} {
		r := httptest.NewRequest("POST", "/v1/why", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.mux().ServeHTTP(w, r)
		for _, part := range want {
			if !strings.Contains(w.Body.String(), part) {
				t.Errorf("%s: got %s, want %s in it", body, w.Body, part)
			}
		}
	}
}
