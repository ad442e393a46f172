package control

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/state"
)

// call asks a handler for something with a token.
func call(h http.Handler, method, path, token, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:9440"
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" && body[0] == '{' {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func withState(t testing.TB, admin selvage.Admin) *Server {
	s, store := testServer(t, admin), state.Memory(state.Limits{})
	s.State = &store
	return s
}

// makeToken makes a token by the socket, as the first one is made.
func makeToken(t *testing.T, s *Server, name, role string) string {
	t.Helper()
	w := call(s.local(), "POST", "/v1/tokens", "", fmt.Sprintf(`{"name":%q,"role":%q}`, name, role))
	var made client.NewToken
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated {
		t.Fatalf("make token: %d %s", w.Code, w.Body)
	}
	return made.Secret
}

func TestEveryOperationHasARole(t *testing.T) {
	s := withState(t, selvage.Admin{})
	described := 0
	for path, item := range s.API().Paths {
		for method, op := range map[string]any{"GET": item.Get, "PUT": item.Put, "POST": item.Post, "DELETE": item.Delete, "HEAD": item.Head, "PATCH": item.Patch} {
			if fmt.Sprint(op) == "<nil>" {
				continue
			}
			described++
			if roles[method+" "+path] == "" {
				t.Errorf("%s %s has no role", method, path)
			}
		}
	}
	if described < 15 {
		t.Errorf("only %d operations are described", described)
	}
	mux := s.mux()
	for pattern, role := range roles {
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.NewReplacer("{schema}", "x", "{change}", "c-1", "{action}", "hold", "{revision}", "0123", "{digest}", "0", "{name}", "x", "{position}", "1", "{service}", "shop", "{key...}", "k", "{url...}", "shop.example/x").Replace(path)
		if _, got := mux.Handler(httptest.NewRequest(method, path, nil)); got != pattern {
			t.Errorf("the table has %q, and nothing is there: %q", pattern, got)
		}
		if !slices.Contains(ranks, role) {
			t.Errorf("%s: %q is no role", pattern, role)
		}
	}
}

func TestRolesAreKept(t *testing.T) {
	s := withState(t, selvage.Admin{Tokens: []string{sha("file"), "viewer:" + strings.ToUpper(sha("looks"))}})
	viewer, operator, admin := makeToken(t, s, "vera", "viewer"), makeToken(t, s, "otto", "operator"), makeToken(t, s, "ada", "admin")
	h := s.remote()
	blob := "/v1/blobs/" + sha("x")
	for _, tt := range []struct {
		method, path, body string
		want               map[string]int
	}{
		{"GET", "/v1/status", "", map[string]int{viewer: 200, operator: 200, admin: 200, "file": 200, "looks": 200}},
		{"PUT", blob, "x", map[string]int{viewer: 403, operator: 204, admin: 204, "file": 204, "looks": 403}},
		{"GET", "/v1/tokens", "", map[string]int{viewer: 403, operator: 403, admin: 200, "file": 200, "looks": 403}},
		{"POST", "/v1/changes", `{"service":"a","manifest":"` + sha("x") + `"}`, map[string]int{viewer: 403, "looks": 403}},
		{"POST", "/v1/changes/last/undo", "{}", map[string]int{viewer: 403, "looks": 403}},
		{"DELETE", "/v1/tokens/nobody", "", map[string]int{viewer: 403, operator: 403, admin: 404}},
		{"GET", "/debug/pprof/cmdline", "", map[string]int{viewer: 403, operator: 200}},
	} {
		for token, want := range tt.want {
			if w := call(h, tt.method, tt.path, token, tt.body); w.Code != want {
				t.Errorf("%s %s as %.8s: got %d %s, want %d", tt.method, tt.path, token, w.Code, w.Body, want)
			}
		}
	}
	w := call(h, "GET", "/v1/whoami", "looks", "")
	if !strings.Contains(w.Body.String(), `"name":"node-file-2","role":"viewer"`) {
		t.Errorf("who: %s", w.Body)
	}
}

func TestTokensAreShownOnceAndRevokedAtOnce(t *testing.T) {
	s := withState(t, selvage.Admin{})
	secret := makeToken(t, s, "mira", "operator")
	if !strings.HasPrefix(secret, "slv_mira_") || len(secret) != len("slv_mira_")+64 {
		t.Errorf("token %q", secret)
	}
	doc, err := s.State.Documents.Get(t.Context(), s.tokens().Key("mira"))
	if err != nil || strings.Contains(string(doc.Value), secret[9:]) {
		t.Errorf("the store has the token itself: %v %s", err, doc.Value)
	}
	if w := call(s.local(), "GET", "/v1/tokens", "", ""); strings.Contains(w.Body.String(), secret[9:]) || !strings.Contains(w.Body.String(), `"mira"`) {
		t.Errorf("list: %s", w.Body)
	}
	h := s.remote()
	for name, token := range map[string]string{
		"another's secret": "slv_otto_" + secret[9:], "another secret": "slv_mira_" + strings.Repeat("0", 64), "nothing": "slv_mira_", "no name": "slv__" + secret[9:],
		"a name of the store": "slv_../x_" + secret[9:], "no prefix": secret[4:],
	} {
		if w := call(h, "GET", "/v1/status", token, ""); w.Code != 401 {
			t.Errorf("%s: got %d", name, w.Code)
		}
	}
	if w := call(h, "GET", "/v1/status", secret, ""); w.Code != 200 {
		t.Errorf("before: %d %s", w.Code, w.Body)
	}
	if w := call(s.local(), "POST", "/v1/tokens", "", `{"name":"mira","role":"viewer"}`); w.Code != 409 {
		t.Errorf("the same name: %d %s", w.Code, w.Body)
	}
	if w := call(s.local(), "DELETE", "/v1/tokens/mira", "", ""); w.Code != 204 {
		t.Errorf("revoke: %d %s", w.Code, w.Body)
	}
	if w := call(h, "GET", "/v1/status", secret, ""); w.Code != 401 {
		t.Errorf("after: %d %s", w.Code, w.Body)
	}
}

func TestWrongTokensAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := withState(t, selvage.Admin{Tokens: []string{sha("right")}})
		var limits []string
		s.OnLimit = func(limit string) { limits = append(limits, limit) }
		h := s.remote()
		for range wrongMost {
			if w := call(h, "GET", "/v1/status", "wrong", ""); w.Code != 401 {
				t.Fatalf("got %d", w.Code)
			}
		}
		w := call(h, "GET", "/v1/status", "right", "")
		if w.Code != 429 || w.Header().Get("Retry-After") != "60" || !slices.Equal(limits, []string{"wrong_tokens"}) {
			t.Errorf("after %d wrong ones: %d, %v", wrongMost, w.Code, limits)
		}
		if w := call(h, "GET", "/livez", "", ""); w.Code != 200 {
			t.Errorf("what needs no token: %d", w.Code)
		}
		other := httptest.NewRequest("GET", "/v1/status", nil)
		other.Host, other.RemoteAddr = "localhost", "[2001:db8::1]:1"
		other.Header.Set("Authorization", "Bearer right")
		rec := httptest.NewRecorder()
		if h.ServeHTTP(rec, other); rec.Code != 200 {
			t.Errorf("another address: %d", rec.Code)
		}
		time.Sleep(wrongWindow)
		if w := call(h, "GET", "/v1/status", "right", ""); w.Code != 200 {
			t.Errorf("a minute later: %d", w.Code)
		}
		for i := range wrongTable * 2 {
			s.wrong.note(fmt.Sprintf("10.%d.%d.1:1", i/256, i%256))
		}
		if len(s.wrong.at) != wrongTable || len(s.wrong.order) != wrongTable {
			t.Errorf("the table has %d addresses, want %d", len(s.wrong.at), wrongTable)
		}
	})
}

func TestBadInputIsAProblemWithAKind(t *testing.T) {
	s := withState(t, selvage.Admin{})
	h := s.local()
	ok := sha("x")
	for _, tt := range []struct {
		name, method, path, body string
		want                     int
		kind                     selvage.Kind
	}{
		{"malformed", "POST", "/v1/changes", `{"service":`, 400, selvage.Invalid},
		{"no body", "POST", "/v1/tokens", "", 400, selvage.Invalid},
		{"an unknown field", "POST", "/v1/tokens", `{"name":"a","role":"viewer","more":1}`, 422, selvage.Invalid},
		{"an unknown role", "POST", "/v1/tokens", `{"name":"a","role":"root"}`, 422, selvage.Invalid},
		{"a name that is none", "POST", "/v1/tokens", `{"name":"A b","role":"viewer"}`, 422, selvage.Invalid},
		{"a name of the node file", "POST", "/v1/tokens", `{"name":"node-file-9","role":"viewer"}`, 422, selvage.Invalid},
		{"too large", "POST", "/v1/tokens", `{"name":"` + strings.Repeat("a", 2<<20) + `"}`, 413, selvage.Invalid},
		{"a digest that is none", "PUT", "/v1/blobs/xyz", "x", 422, selvage.Invalid},
		{"a wrong digest", "PUT", "/v1/blobs/" + ok, "y", 422, selvage.Invalid},
		{"no digest in the manifest", "POST", "/v1/changes", `{"service":"a","manifest":"abc"}`, 422, selvage.Invalid},
		{"a wrong method", "PATCH", "/v1/changes", "{}", 405, selvage.Invalid},
		{"reading a blob", "GET", "/v1/blobs/" + ok, "", 405, selvage.Invalid},
		{"what is not there", "GET", "/v2/changes", "", 404, selvage.NotFound},
		{"an action that is none", "POST", "/v1/rollouts/c-1/celebrate", "{}", 422, selvage.Invalid},
		{"a page that is none", "GET", "/v1/changes?most=-1", "", 422, selvage.Invalid},
		{"a token of the node file", "DELETE", "/v1/tokens/node-file-1", "", 422, selvage.Invalid},
		{"a token that is not there", "DELETE", "/v1/tokens/nobody", "", 404, selvage.NotFound},
		{"a revision that is none", "GET", "/v1/revisions/xyz", "", 422, selvage.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := call(h, tt.method, tt.path, "", tt.body)
			var p client.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatalf("not a problem: %d %s", w.Code, w.Body)
			}
			if w.Code != tt.want || p.Status != tt.want || p.Kind() != string(tt.kind) || p.Detail == "" ||
				w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("got %d %s %s, want %d %s", w.Code, w.Header().Get("Content-Type"), w.Body, tt.want, tt.kind)
			}
		})
	}
	if w := call(h, "HEAD", "/v1/blobs/"+ok, "", ""); w.Code != 404 {
		t.Errorf("a blob that was refused is there: %d", w.Code)
	}
}

func TestBlobsAreStoredByTheirDigest(t *testing.T) {
	s := withState(t, selvage.Admin{})
	h := s.local()
	for range 2 { // the second time it is there already
		if w := call(h, "PUT", "/v1/blobs/"+sha("some bytes"), "", "some bytes"); w.Code != 204 {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
	}
	if w := call(h, "HEAD", "/v1/blobs/"+sha("some bytes"), "", ""); w.Code != 204 || w.Header().Get("Selvage-Size") != "10" {
		t.Errorf("head: %d %v", w.Code, w.Header())
	}
	var limits []string
	s.OnLimit = func(limit string) { limits = append(limits, limit) }
	for _, tt := range []struct{ length, most int64 }{{maxBlob + 1, 0}, {-1, 1 << 20}} { // said to be, and found to be
		limits, s.blobMost = nil, tt.most
		r := httptest.NewRequest("PUT", "/v1/blobs/"+sha("other"), io.LimitReader(zeros{}, 1<<20+1))
		if r.ContentLength = tt.length; tt.length > 0 {
			r.Header.Set("Content-Length", strconv.FormatInt(tt.length, 10)) // as a server gives it
		}
		w := httptest.NewRecorder()
		s.local().ServeHTTP(w, r)
		if w.Code != 413 || !slices.Equal(limits, []string{"blob"}) {
			t.Errorf("too large, length %d: %d %s, %v", tt.length, w.Code, w.Body, limits)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestTheDescriptionIsWholeAndOfItsVersion(t *testing.T) {
	s := withState(t, selvage.Admin{})
	w := call(s.local(), "GET", "/openapi.json", "", "")
	var d struct {
		OpenAPI    string                               `json:"openapi"`
		Paths      map[string]map[string]map[string]any `json:"paths"`
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || !strings.HasPrefix(d.OpenAPI, "3.1") {
		t.Fatalf("OpenAPI %q: %v", d.OpenAPI, err)
	}
	for pattern := range roles {
		method, path, _ := strings.Cut(pattern, " ")
		if !strings.HasPrefix(path, "/v1/") {
			continue // for probes, for clients of others, and the description itself
		}
		op := d.Paths[path][strings.ToLower(method)]
		if op == nil || op["summary"] == nil || op["operationId"] == nil {
			t.Errorf("%s is not described: %v", pattern, op)
		}
	}
	for _, name := range []string{"Change", "Rollout", "Progress", "Revision", "Plan", "Token", "LogEntry", "Purge", "Status"} {
		if d.Components.Schemas[name] == nil {
			t.Errorf("the shape %s is missing", name)
		}
	}
	if entry := fmt.Sprint(d.Components.Schemas["LogEntry"]); strings.Contains(entry, "contentEncoding") {
		t.Errorf("an entry is described as bytes: %s", entry)
	}
}
