package cache

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// What is not fresh, not plain, or not asked for plainly takes the ordinary way.
func TestOnlyWhatIsFreshAndPlainIsWrittenAsItLies(t *testing.T) {
	for name, tc := range map[string]struct {
		fields string
		asks   []string
		want   bool
	}{
		"plain":                     {"X-A: 1", nil, true},
		"stale":                     {"Cache-Control: max-age=1, stale-while-revalidate=60", nil, false},
		"to be confirmed":           {"Cache-Control: no-cache\nEtag: \"a\"", nil, false},
		"selected by what is added": {"Vary: X-Added", nil, false},
		"method override":           {"X-A: 1", []string{"X-Http-Method-Override", "DELETE"}, false},
		"range":                     {"X-A: 1", []string{"Range", "bytes=0-0"}, false},
		"condition":                 {"Etag: \"a\"", []string{"If-None-Match", `"a"`}, false},
		"condition by date":         {"X-A: 1", []string{"If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"}, false},
		"precondition":              {"Etag: \"a\"", []string{"If-Match", `"a"`}, false},
		"other protocol":            {"X-A: 1", []string{"Upgrade", "websocket"}, false},
		"younger than it is":        {"X-A: 1", []string{"Cache-Control", "max-age=1"}, false},
		"selected by other fields":  {"Vary: X-Lang", []string{"X-Lang", "fr"}, false},
		"for any query":             {"No-Vary-Search: params", nil, false},
		"proxies before":            {"Via: 1.1 there", nil, false},
		"caches before":             {"Cache-Status: there; hit", nil, false},
		"control character":         {"X-A: a\x01b", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				scope := shop
				scope.Policy, scope.Added = selvage.Cache{TTL: selvage.Duration(time.Minute)}, []string{"X-Added"}
				e := newEdgeFor(t, scope, always(200, tc.fields, "page"))
				e.get("/")
				settled()
				time.Sleep(2 * time.Second)
				req := get(t, "http://shop.example/", tc.asks...)
				r := e.Ready(new(record.Record), req.Header, req.URL)
				if got := r != nil; got != tc.want {
					t.Fatalf("written as it lies: %v, want %v", got, tc.want)
				}
				if r == nil {
					return
				}
				fields := string(r.AppendFields(nil))
				if strings.Contains(fields, "Content-Length") || !strings.Contains(fields, "\r\nAge: 2\r\nCache-Status: selvage; hit; ttl=58\r\n") {
					t.Errorf("fields %q", fields)
				}
				r.Close()
			})
		})
	}
}

func TestOnlyAPlainAnswerIsReady(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*answer)
		want   bool
	}{
		"plain":                    {func(*answer) {}, true},
		"horizontal tab":           {func(a *answer) { a.header["X-A"] = []string{"a\tb"} }, true},
		"another status":           {func(a *answer) { a.status = http.StatusNotFound }, false},
		"without content":          {func(a *answer) { a.status = http.StatusNoContent }, false},
		"length that is not known": {func(a *answer) { a.length = -1 }, false},
		"length that lies":         {func(a *answer) { a.length++ }, false},
		"without a date":           {func(a *answer) { delete(a.header, "Date") }, false},
		"two dates":                {func(a *answer) { a.header["Date"] = append(a.header["Date"], "x") }, false},
		"proxies before":           {func(a *answer) { a.header["Via"] = []string{"1.1 there"} }, false},
		"caches before":            {func(a *answer) { a.header["Cache-Status"] = []string{"there; hit"} }, false},
		"a second Age":             {func(a *answer) { a.header["Age"] = []string{"1"} }, false},
		"field of a connection":    {func(a *answer) { a.header["Transfer-Encoding"] = []string{"chunked"} }, false},
		"name that is empty":       {func(a *answer) { a.header[""] = []string{"1"} }, false},
		"name that divides":        {func(a *answer) { a.header["X-A:1\r\nX-B"] = []string{"1"} }, false},
		"trailer":                  {func(a *answer) { a.header[http.TrailerPrefix+"X-A"] = []string{"1"} }, false},
		"value that divides":       {func(a *answer) { a.header["X-A"] = []string{"1", "a\r\nX-B: 1"} }, false},
		"delete character":         {func(a *answer) { a.header["X-A"] = []string{"a\x7f"} }, false},
	} {
		a := &answer{status: http.StatusOK, header: head("Date: " + httpDate(epoch) + "\nX-A: 1"), body: bodyOf([][]byte{[]byte("page")}), length: 4}
		tt.change(a)
		if got := a.isReady(); got != tt.want {
			t.Errorf("%s: ready %v, want %v", name, got, tt.want)
		}
	}
}

// What the transport itself would do to an answer, or to a key, cannot be done on that way.
func TestTransportThatTellsAnswersApartByWhatIsAddedWritesNoneAsItLies(t *testing.T) {
	for name, tt := range map[string]struct {
		scope func(*Scope)
		want  bool
	}{
		"plain":                     {func(*Scope) {}, true},
		"field in the key":          {func(s *Scope) { s.Policy.Key = &selvage.CacheKey{Headers: []string{"X-Plan"}} }, true},
		"field in the key is added": {func(s *Scope) { s.Policy.Key = &selvage.CacheKey{Headers: []string{"X-Added"}} }, false},
		"other codings":             {func(s *Scope) { s.Coder = new(zipper) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				scope := shop
				scope.Policy, scope.Added = oneMinute, []string{"X-Added"}
				tt.scope(&scope)
				e := newEdgeFor(t, scope, always(200, "", "page"))
				e.get("/")
				settled()
				if got := e.lies("/"); (got == "page") != tt.want {
					t.Errorf("written as it lies: %q, want it %v", got, tt.want)
				}
			})
		})
	}
}

// lies is the body of a hit that is written as it lies, none where there is none.
func (e *edge) lies(path string) string {
	req := get(e.t, "http://shop.example"+path)
	r := e.Ready(new(record.Record), req.Header, req.URL)
	if r == nil {
		return "none"
	}
	defer r.Close()
	return string(r.Body())
}

// Whatever ends an answer ends it for hits as they lie.
func TestWhatHasEndedIsNotWrittenAsItLies(t *testing.T) {
	for name, end := range map[string]func(e *edge){
		"a tag":                   func(e *edge) { e.purge(hard, "red") },
		"a tag, softly":           func(e *edge) { e.purge(soft, "red") },
		"the URL":                 func(e *edge) { e.purge(hard, "/") },
		"the URL, softly":         func(e *edge) { e.purge(soft, "/") },
		"the service":             func(e *edge) { e.purge(hard) },
		"an unsafe request":       func(e *edge) { e.post("/", "x") },
		"its group":               func(e *edge) { e.post("/other", "x") },
		"all that is stored":      func(e *edge) { e.store.Forget() },
		"its lifetime":            func(*edge) { time.Sleep(time.Minute) },
		"an answer for any query": func(e *edge) { e.get("/?any"); settled() },
	} {
		t.Run(name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				e := newEdge(t, oneMinute, &script{answer: func(req *http.Request) (*http.Response, error) {
					fields := "Surrogate-Key: red\nCache-Groups: \"g\""
					if req.URL.RawQuery != "" {
						fields = "No-Vary-Search: params"
					}
					if req.Method == http.MethodPost && req.URL.Path == "/other" {
						fields = "Cache-Group-Invalidation: \"g\""
					}
					return reply(req, 200, fields, "page"), nil
				}})
				e.get("/")
				settled()
				if got := e.lies("/"); got != "page" {
					t.Fatalf("before it: %q, want the page", got)
				}
				end(e)
				if got := e.lies("/"); got != "none" {
					t.Errorf("after it: %q, want none", got)
				}
			})
		})
	}
}
