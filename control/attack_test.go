package control

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

// attacked is a server that has all but changes.
func attacked(t testing.TB) *Server {
	s := withState(t, selvage.Admin{})
	s.Purger = new(notedPurges)
	return s
}

// operation is one of the description, with a path that could be asked for.
type operation struct {
	method, pattern, path string
	body                  bool // it takes JSON
}

func (o operation) String() string { return o.method + " " + o.pattern }

// operations are all that are described.
func operations(s *Server) []operation {
	example := strings.NewReplacer("{change}", "c-1", "{action}", "hold", "{revision}", "0123456789abcdef", "{digest}", sha("x"), "{name}", "nobody", "{position}", "1")
	var out []operation
	for path, item := range s.API().Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "PUT": item.Put, "POST": item.Post, "DELETE": item.Delete, "HEAD": item.Head, "PATCH": item.Patch} {
			if op != nil {
				out = append(out, operation{method, path, example.Replace(path), op.RequestBody != nil && op.RequestBody.Content["application/json"] != nil})
			}
		}
	}
	slices.SortFunc(out, func(a, b operation) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// needed is what the documents say of roles: who looks is a viewer, who alters is an operator,
// who makes tokens is an admin. It is not the table by which the server decides.
func needed(o operation) Role {
	switch {
	case o.pattern == "/livez" || o.pattern == "/readyz":
		return Open
	case strings.HasPrefix(o.pattern, "/v1/tokens"):
		return Admin
	case o.method == "GET" || o.pattern == "/v1/plan" || o.pattern == "/v1/why":
		return Viewer
	}
	return Operator
}

func TestEveryOperationIsRefusedToEveryRoleBelowItsOwn(t *testing.T) {
	s := attacked(t)
	tokens := map[Role]string{Open: ""}
	for name, role := range map[string]Role{"vera": Viewer, "otto": Operator, "ada": Admin} {
		tokens[role] = makeToken(t, s, name, string(role))
	}
	gone := makeToken(t, s, "gone", "admin")
	if w := call(s.local(), "DELETE", "/v1/tokens/gone", "", ""); w.Code != http.StatusNoContent {
		t.Fatalf("revoke: %d %s", w.Code, w.Body)
	}
	all := operations(s)
	if len(all) < 20 {
		t.Fatalf("only %d operations are described", len(all))
	}
	h := s.remote()
	for _, o := range all {
		need := needed(o)
		for role, token := range tokens {
			body := ""
			if o.body {
				body = `{"half":`
			}
			w := call(h, o.method, o.path, token, body)
			switch want := role.may(need); {
			case role == Open && need != Open && w.Code != http.StatusUnauthorized:
				t.Errorf("%s without a token: %d", o, w.Code)
			case role != Open && !want && w.Code != http.StatusForbidden:
				t.Errorf("%s as %s: %d, it needs %s", o, role, w.Code, need)
			case want && (w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden || w.Code == http.StatusInternalServerError):
				t.Errorf("%s as %s: %d %s", o, role, w.Code, w.Body)
			}
		}
	}
	for _, o := range all[:9] { // the tenth is not compared any more
		if need := needed(o); need == Open {
			continue
		}
		if w := call(h, o.method, o.path, gone, ""); w.Code != http.StatusUnauthorized {
			t.Errorf("%s with a revoked token: %d", o, w.Code)
		}
	}
}

func TestEveryOperationAnswersNonsenseWithAProblem(t *testing.T) {
	s := attacked(t)
	h := s.local()
	long := strings.Repeat("a", 2<<20)
	type nonsense struct{ name, content, body string }
	for _, o := range operations(s) {
		if !strings.HasPrefix(o.pattern, "/v1/") || o.method == "HEAD" {
			continue
		}
		tests := []nonsense{}
		if o.body {
			tests = []nonsense{
				{"half a body", "application/json", `{"why":`}, {"no JSON", "application/json", "why=because"}, {"another shape", "application/json", `[1,2]`},
				{"a wrong type", "application/json", `{"why":{"a":1},"name":[],"service":7,"what":"x","url":9}`}, {"a field that is none", "application/json", `{"no_such_field":1}`},
				{"nothing", "application/json", ""}, {"null", "application/json", "null"}, {"too much", "application/json", `{"why":"` + long + `"}`},
				{"a form", "application/x-www-form-urlencoded", "a=b"}, {"no text", "application/json", "{\"why\":\"\xff\xfe\"}"}, {"deep", "application/json", strings.Repeat("[", 100_000)},
			}
		}
		for _, n := range tests {
			r := httptest.NewRequest(o.method, o.path, strings.NewReader(n.body))
			r.Header.Set("Content-Type", n.content)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			isProblem(t, o.String()+", "+n.name, w, http.StatusServiceUnavailable) // where all fields may be left out
		}
		for _, path := range []string{o.path + "/more", strings.Replace(o.path, "c-1", long[:5000], 1) + "?x=" + long[:5000], o.path + "?most=many&after=-1&before=" + long[:5000] + "&service=" + long[:5000]} {
			if path == o.path {
				continue
			}
			w := call(h, o.method, path, "", "")
			if w.Code >= 400 {
				isProblem(t, o.method+" "+path[:min(len(path), 60)], w, http.StatusServiceUnavailable)
			}
		}
		w := call(h, "BREW", o.path, "", "")
		isProblem(t, "BREW "+o.path, w, 0)
	}
}

// isProblem wants an answer that says what was wrong, in our shape and with nothing of the machine.
func isProblem(t *testing.T, what string, w *httptest.ResponseRecorder, or int) {
	t.Helper()
	var p client.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Errorf("%s: not a problem: %d %.200s", what, w.Code, w.Body)
		return
	}
	if (w.Code < 400 || w.Code >= 500) && w.Code != or || p.Status != w.Code || p.Kind() == "" || p.Detail == "" || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: got %d %s %.300s", what, w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	if w.Body.Len() > 16<<10 {
		t.Errorf("%s: the problem has %d bytes", what, w.Body.Len())
	}
	for _, secret := range []string{"/tmp/", "/home/", "/root/", "goroutine", "slv_"} {
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s: the answer tells %q: %.300s", what, secret, w.Body)
		}
	}
}

// Whatever comes in, an answer comes out that is not of a defect, and what is refused is refused in our shape.
func FuzzAPI(f *testing.F) {
	for _, seed := range [][3]string{
		{"POST", "/v1/changes", `{"service":"a","manifest":"` + sha("x") + `"}`}, {"POST", "/v1/tokens", `{"name":"a","role":"viewer"}`},
		{"GET", "/v1/changes?most=3&before=c-1", ""}, {"POST", "/v1/rollouts/last/hold", "{}"}, {"PUT", "/v1/blobs/" + sha("x"), "x"},
		{"POST", "/v1/why", `{"url":"http://a/b","headers":{"a":["b"]}}`}, {"POST", "/v1/purges", `{"what":["tag:a"]}`}, {"PURGE", "/shop.example/x", ""},
		{"POST", "/service/shop/purge/a%2fb", ""}, {"DELETE", "/v1/tokens/%00", ""}, {"GET", "/v1/revisions/..%2f..", ""}, {"POST", "/v1/plan", "{}"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	h := attacked(f).local()
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1", strings.NewReader(body))
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		if r.URL, err = r.URL.Parse(path); err != nil || r.URL.Host != "127.0.0.1" {
			return
		}
		r.RequestURI = path
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%s %s %q: %s", method, path, body, w.Body)
		}
		if w.Code >= 400 && strings.HasPrefix(r.URL.Path, "/v1/") && method != "HEAD" && method != "PURGE" {
			var p client.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code {
				t.Errorf("%s %s %q: %d %s", method, path, body, w.Code, w.Body)
			}
		}
	})
}
