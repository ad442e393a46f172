package control

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

// notedPurges is what a node would have been asked. It knows one service.
type notedPurges struct {
	asked   []client.PurgeRequest
	missing bool
}

func (n *notedPurges) Purge(_ context.Context, r client.PurgeRequest, _ string) (*client.Purge, error) {
	n.asked = append(n.asked, r)
	if r.Service == "chop" {
		return nil, selvage.Errorf(selvage.NotFound, "no service is named chop")
	}
	p := &client.Purge{What: r.What, Position: 7, Incarnation: "abc", Complete: !n.missing, Receipts: []client.PurgeReceipt{}}
	if n.missing {
		p.Missing = []client.MissingNode{{Node: "iad-1"}}
	}
	return p, nil
}

func (n *notedPurges) PurgeReceipts(_ context.Context, position uint64) (*client.Purge, error) {
	if position > 7 {
		return nil, selvage.Errorf(selvage.NotFound, "no purge is at position %d", position)
	}
	return n.Purge(context.Background(), client.PurgeRequest{}, "")
}

func TestPurgePathsPurgeWhatTheyName(t *testing.T) {
	for _, tt := range []struct {
		name, method, path, header, body string
		status                           int
		want                             client.PurgeRequest
		answer                           string
	}{
		{"ours", "POST", "/v1/purges", "", `{"what":["tag:a","https://x.example/"],"soft":true}`, 200,
			client.PurgeRequest{What: []string{"tag:a", "https://x.example/"}, Soft: true}, `"position":7`},
		{"Fastly's by key", "POST", "/service/shop/purge/product-42", "", "", 200,
			client.PurgeRequest{What: []string{"tag:product-42"}, Service: "shop"}, `{"id":"abc-7","status":"ok"}`},
		{"Fastly's by a key with a slash", "POST", "/service/shop/purge/a/b", "Fastly-Soft-Purge: 1", "", 200,
			client.PurgeRequest{What: []string{"tag:a/b"}, Service: "shop", Soft: true}, `{"id":"abc-7","status":"ok"}`},
		{"Fastly's batch in a field", "POST", "/service/shop/purge", "Surrogate-Key: a b", "", 200,
			client.PurgeRequest{What: []string{"tag:a", "tag:b"}, Service: "shop"}, `{"a":"abc-7","b":"abc-7"}`},
		{"Fastly's batch in a body", "POST", "/service/shop/purge", "Content-Type: application/json", `{"surrogate_keys":["a","b c"]}`, 200,
			client.PurgeRequest{What: []string{"tag:a", "tag:b c"}, Service: "shop"}, `{"a":"abc-7","b c":"abc-7"}`},
		{"Fastly's all", "POST", "/service/shop/purge_all", "", "", 200,
			client.PurgeRequest{What: []string{"service:shop"}, Service: "shop"}, `{"status":"ok"}`},
		{"Fastly's by URL", "POST", "/purge/shop.example/p/42?x=1", "", "", 200,
			client.PurgeRequest{What: []string{"http://shop.example/p/42?x=1"}}, `{"id":"abc-7","status":"ok"}`},
		{"Fastly's by method", "PURGE", "/shop.example/p%2F42", "Fastly-Soft-Purge: 1", "", 200,
			client.PurgeRequest{What: []string{"http://shop.example/p%2F42"}, Soft: true}, `{"id":"abc-7","status":"ok"}`},
		{"an unknown service", "POST", "/service/chop/purge/a", "", "", 404,
			client.PurgeRequest{What: []string{"tag:a"}, Service: "chop"}, `"msg":"Not Found"`},
		{"a batch of nothing", "POST", "/service/shop/purge", "", "{}", 400, client.PurgeRequest{}, `1 to 256 surrogate keys`},
		{"a batch that is no JSON", "POST", "/service/shop/purge", "", "a b", 400, client.PurgeRequest{}, `surrogate_keys`},
		{"a batch of too many", "POST", "/service/shop/purge", "Surrogate-Key: " + strings.Repeat("k ", 257), "", 400, client.PurgeRequest{}, "this one has 257"},
		{"nothing at all", "POST", "/v1/purges", "", `{"what":[]}`, 422, client.PurgeRequest{}, "what"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noted := new(notedPurges)
			s := testServer(t, selvage.Admin{Address: "127.0.0.1:9440", Tokens: []string{sha("right")}})
			s.Purger = noted
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			r.Host = "127.0.0.1:9440"
			r.Header.Set("Authorization", "Bearer right")
			if tt.method == "POST" && strings.HasPrefix(tt.path, "/v1") {
				r.Header.Set("Content-Type", "application/json")
			}
			if name, value, ok := strings.Cut(tt.header, ": "); ok {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			s.remote().ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.answer) {
				t.Errorf("got %d %s, want %d with %s", w.Code, w.Body, tt.status, tt.answer)
			}
			if tt.want.What == nil {
				if len(noted.asked) > 0 {
					t.Errorf("the node was asked for %+v", noted.asked)
				}
				return
			}
			if d := cmp.Diff([]client.PurgeRequest{tt.want}, noted.asked); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestFastlyKeyIsATokenOnFastlysPathsOnly(t *testing.T) {
	for path, want := range map[string]int{"/service/shop/purge/a": 200, "/v1/purges": 401} {
		s := testServer(t, selvage.Admin{Address: "127.0.0.1:9440", Tokens: []string{sha("right")}})
		s.Purger = new(notedPurges)
		for key, status := range map[string]int{"right": want, "wrong": 401, "": 401} {
			r := httptest.NewRequest("POST", path, nil)
			r.Host = "127.0.0.1:9440"
			if key != "" {
				r.Header.Set(fastlyKey, key)
			}
			w := httptest.NewRecorder()
			s.remote().ServeHTTP(w, r)
			if w.Code != status {
				t.Errorf("%s with key %q: got %d %s, want %d", path, key, w.Code, w.Body, status)
			}
		}
	}
}

func TestMissingReceiptIsNoSuccessToFastlysClients(t *testing.T) {
	s := testServer(t, selvage.Admin{})
	s.Purger = &notedPurges{missing: true}
	w := httptest.NewRecorder()
	s.mux().ServeHTTP(w, httptest.NewRequest("POST", "/service/shop/purge_all", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d %s, want 503", w.Code, w.Body)
	}
}

func TestReceiptsCanBeReadLater(t *testing.T) {
	s := testServer(t, selvage.Admin{})
	s.Purger = new(notedPurges)
	for path, want := range map[string]int{"/v1/purges/7": 200, "/v1/purges/8": 404, "/v1/purges/x": 422} {
		w := httptest.NewRecorder()
		s.mux().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		var p client.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); w.Code != want || want == 404 && (err != nil || p.Detail != "no purge is at position 8") {
			t.Errorf("%s: got %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
}
