package edgetest_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httputil" //nolint:depguard // the smallest edge that is not ours, to test the player by
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/edgetest"
)

// plainEdge is the smallest edge: the standard library's reverse proxy in
// front of the host "one".
type plainEdge struct {
	setup edgetest.Setup
	srv   *http.Server
}

func startPlain(s edgetest.Setup) (edgetest.Edge, error) {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "one"})
	tr := &http.Transport{DialContext: s.Dial}
	proxy.Transport = tr
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	srv := &http.Server{Handler: proxy, Protocols: new(http.Protocols), ReadHeaderTimeout: 10 * time.Second}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	srv.RegisterOnShutdown(tr.CloseIdleConnections)
	return &plainEdge{s, srv}, nil
}

func (e *plainEdge) Run(ctx context.Context) error {
	l, err := e.setup.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	defer e.srv.Handler.(*httputil.ReverseProxy).Transport.(*http.Transport).CloseIdleConnections()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	if err := e.srv.Serve(l); ctx.Err() == nil {
		return err
	}
	return e.srv.Shutdown(context.Background())
}

func (e *plainEdge) Reload(string, []string) error { return nil }

func (e *plainEdge) Purge(context.Context, []string, bool) error { return nil }

func (e *plainEdge) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "# HELP a_total A.\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"2\",y=\"2\"} 4\n")
	})
}

func write(t *testing.T, source string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "scenario.txt")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestEveryWordOfTheLanguagePlays(t *testing.T) {
	for name, source := range map[string]string{
		"answers and counts": `# A.
origin one
get /a
expect 200 one
expect 200 "one 1"
expect header Content-Length: 5
expect no header X-None
expect open
head /a
expect 200 ""
expect origin one saw HEAD /a
post /b hello world
  X-Test: yes
expect 200 one 3
expect origin one saw POST /b
expect origin one saw X-Test: yes
expect origin one saw body hello world
expect origin one saw no X-None
expect origin one requests 3
expect origin one connections 1
`,
		"time and streams": `# B.
origin one
origin one answers 200
  Content-Type: text/event-stream
  head
  wait 2s
  chunk data: 1\n\n
  wait 1s
  chunk data: 2\n\n
  trailer Sum: 2
get /events as a
expect a 200
expect a nothing
wait 2s
expect a chunk data: 1\n\n
expect a nothing
wait 1s
expect a chunk data: 2\n\n
expect a trailer Sum: 2
expect took 0s
origin one answers 200 late
  wait 5s
get /late
expect 200 late
expect took 5s
`,
		"raw requests, pipelined": `# C.
origin one
send GET /1 HTTP/1.1\r\n
  Host: shop.example\r\n
  \r\n
expect 200 one 1
send GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n
expect 200 one 2
expect next 200 one 3
send GET /4 HTTP/1.1\r\nHo
wait 1s
expect nothing
send st: a\r\n\r\n
expect 200 one 4
send GET\r\n\r\n
expect 400
expect closed
send GET / HTTP/1.1\r\n
wait 10s
expect closed
`,
		"broken answers": `# D.
origin one
origin one answers 200
  Content-Length: 200000
  chunk {100KiB}
  close
get /
expect 200
expect broken
origin one down
get /
expect 502
origin one up
origin one twice answers 503 busy
get /
expect 503 busy
get /
expect 503 busy
origin one at /other answers 404 none
get /other
expect 404 none
`,
		"upgrades": `# E.
origin one
origin one echoes
upgrade /ws
expect 101
ws send hello
ws expect hello
close
expect origin one gone
`,
		"clients": `# F.
origin one
from 192.0.2.7
over h2c
get /
expect 200 one
expect protocol HTTP/2.0
over http/1.1
post /up
  Expect: 100-continue
  chunk a
  wait 1s
  chunk b
expect interim 100
expect 200 one
expect origin one saw body ab
expect origin one saw X-Forwarded-For: 192.0.2.7
expect metric a_total 7
expect metric a_total{y="2",x="1"} 3
drain
expect ended
`,
		"big": `# G.
origin one
origin one answers 200 {1MiB}
get /
  unread
wait 10s
expect 200 {1MiB}
post /echo {100KiB}
expect origin one saw body {100KiB}
`,
	} {
		t.Run(name, func(t *testing.T) { edgetest.Play(t, write(t, source), startPlain) })
	}
}

func TestMistakesInAScenarioAreAllNamedWithAHint(t *testing.T) {
	got := edgetest.Mistakes("x.txt", `# A scenario with mistakes.
orign one
get
expect 2OO
expect haeder Foo: bar
wait soon
over h3
origin one answers 200
  chonk a
get / no field
`)
	for _, want := range []string{
		`x.txt:2: "orign" is not a statement: did you mean "origin"?`,
		`x.txt:3: get needs a target`,
		`x.txt:4: "2OO" is not a thing to expect`,
		`x.txt:5: "haeder" is not a thing to expect: did you mean "header"?`,
		`x.txt:6: "soon" is not a duration`,
		`x.txt:7: "h3" is not a protocol`,
		`x.txt:9: "chonk" is not a step: did you mean "chunk"?`,
		`x.txt:10: "no field" is not a field`,
	} {
		if got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("want %s in:\n%v", want, got)
		}
	}
	if err := edgetest.Mistakes("x.txt", "get /\n"); err == nil || !strings.Contains(err.Error(), "begins with a comment") {
		t.Errorf("without a promise: got %v", err)
	}
}

func TestExpectationsThatDoNotHoldSayGotAndWant(t *testing.T) {
	for source, want := range map[string]string{
		"expect 404":                     "want 404",
		"expect 200 two":                 "want \"two\"",
		"expect header A: b":             "want A: b",
		"expect broken":                  "want it broken",
		"expect closed":                  "want it closed",
		"expect took 1s":                 "want it after 1s",
		"expect nothing":                 "want nothing yet",
		"expect origin one requests 7":   "want 7",
		"expect origin one saw GET /x":   "want \"GET /x\"",
		"expect 200 one selvage; hit":    "want selvage; hit",
		"expect log status 200":          "empty access log",
		"expect origin one gone":         "want it given up",
		"expect interim 103":             "want 103",
		"expect no header Date":          "want it there: false",
		"expect next 200":                "got no answer",
		"expect ended":                   "write drain",
		"expect proxy-status error=none": "want selvage; error=none",
		"ws expect hi":                   "want \"hi\"",
	} {
		err := edgetest.Rehearse(t, "# P.\norigin one\nget /\n"+source+"\n", startPlain)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "scenario.txt:4: "+source) {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
}

func TestBytesThatNobodyAskedForAreFound(t *testing.T) {
	err := edgetest.Rehearse(t, "# P.\norigin one\nsend GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\nGET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n\nexpect 200\n", startPlain)
	if err == nil || !strings.Contains(err.Error(), "nobody had asked for") {
		t.Errorf("got %v, want the second answer to be found", err)
	}
}
