package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
)

// mistakes are files and what is printed about them.
var mistakes = []struct{ name, kind, file, want string }{
	{"the example of the style guide", "service", `service: shop
hosts: [shop.example]
origins: {web: {endpoints: [http://127.0.0.1:1]}}
routes:
  - match: {path: /checkout}
    origin: wbe
`, `shop.yaml:6:13: route "/checkout": origin "wbe" is not defined
     6 |     origin: wbe
       |             ^ did you mean "web"?`},
	{"unknown keys on every level", "service", `service: shop
hosts: [shop.example]
origins:
  web:
    endpoints: [http://127.0.0.1:1]
    timeout: {conect: 1s}
    colour: blue
routes:
  - match: {path: /x, methods: [GET, HEAD]}
    origin: web
    cache: {tll: 5s}
  - match: {path: /y}
    name: why
    orign: web
`, `shop.yaml:6:15: origin "web": timeout: unknown key "conect"
     6 |     timeout: {conect: 1s}
       |               ^ did you mean "connect"?
shop.yaml:7:5: origin "web": unknown key "colour"
     7 |     colour: blue
       |     ^ known here: endpoints, weights, folder, function, host, protocol, tls, health, eject, timeout, retry, connections
shop.yaml:11:13: route "GET,HEAD /x": cache: unknown key "tll"
    11 |     cache: {tll: 5s}
       |             ^ did you mean "ttl"?
shop.yaml:14:5: route "why": unknown key "orign"
    14 |     orign: web
       |     ^ did you mean "origin"?`},
	{"wrong types", "service", `service: [shop]
tier: "1"
hosts: shop.example
origins: 5
routes:
  - match: /x
    cors: {origins: ["*"], credentials: "yes"}
    limit: {rate: {a: b}, burst: 1.5}
    redirect: {to: /y, status: 0301}
`, `shop.yaml:1:10: service: text is expected here, not a list
     1 | service: [shop]
       |          ^
shop.yaml:2:7: tier: "1" is not a whole number
     2 | tier: "1"
       |       ^ write digits, without quotes
shop.yaml:3:8: hosts: a list is expected here, not text
     3 | hosts: shop.example
       |        ^ did you mean [shop.example]?
shop.yaml:4:10: origins: keys with values are expected here, not a number
     4 | origins: 5
       |          ^
shop.yaml:6:12: route 1: match: keys with values are expected here, not text
     6 |   - match: /x
       |            ^
shop.yaml:7:41: route 1: cors.credentials: "yes" is neither true nor false
     7 |     cors: {origins: ["*"], credentials: "yes"}
       |                                         ^ write true or false, without quotes
shop.yaml:8:19: route 1: limit.rate: text is expected here, not keys with values
     8 |     limit: {rate: {a: b}, burst: 1.5}
       |                   ^
shop.yaml:8:34: route 1: limit.burst: "1.5" is not a whole number
     8 |     limit: {rate: {a: b}, burst: 1.5}
       |                                  ^ write digits, without quotes
shop.yaml:9:32: route 1: redirect.status: "0301" is not a whole number
     9 |     redirect: {to: /y, status: 0301}
       |                                ^ write digits, without quotes`},
	{"missing, empty and doubled", "service", `service: ""
hosts: []
owner:
owner: me
owner: you
routes:
  - match:
    redirect: {to: /y}
  - name: n
`, `shop.yaml:1:1: service: it must not be empty
     1 | service: ""
       | ^
shop.yaml:2:1: hosts: it must not be empty
     2 | hosts: []
       | ^
shop.yaml:3:1: owner: it has no value
     3 | owner:
       | ^ write one, or take the key away
shop.yaml:4:1: key "owner" stands here twice
     4 | owner: me
       | ^ the first one is in line 3
shop.yaml:5:1: key "owner" stands here twice
     5 | owner: you
       | ^ the first one is in line 3
shop.yaml:7:5: route 1: match.path: it is missing
     7 |   - match:
       |     ^ add it
shop.yaml:9:5: route "n": match: it is missing
     9 |   - name: n
       |     ^ add it`},
	{"bounds, choices and words", "node", `listen: [{address: ":0"}]
admin: {address: off, open_metrics: ato}
tls: {min_version: 1.20}
limits: {fields: 0, head: 64}
deadlines: {head: -1s, idle: forever}
trusted_proxies: [10.0.0.1/8, example.com]
`, `node.yaml:2:37: admin.open_metrics: "ato" is not one of its values
     2 | admin: {address: off, open_metrics: ato}
       |                                     ^ did you mean "auto"?
node.yaml:3:20: tls.min_version: "1.20" is not one of its values
     3 | tls: {min_version: 1.20}
       |                    ^ write 1.2 or 1.3
node.yaml:4:18: limits.fields: 0 is out of bounds
     4 | limits: {fields: 0, head: 64}
       |                  ^ write at least 1
node.yaml:4:27: limits.head: "64" is not an amount of bytes
     4 | limits: {fields: 0, head: 64}
       |                           ^ write 512B, 64KiB, 10MB or 1GiB
node.yaml:5:19: deadlines.head: "-1s" is not a duration
     5 | deadlines: {head: -1s, idle: forever}
       |                   ^ write 250ms, 5s, 1m30s, 12h or 7d
node.yaml:5:30: deadlines.idle: "forever" is not a duration
     5 | deadlines: {head: -1s, idle: forever}
       |                              ^ write 250ms, 5s, 1m30s, 12h or 7d
node.yaml:6:19: trusted_proxies[0]: "10.0.0.1/8" has bits set behind its length
     6 | trusted_proxies: [10.0.0.1/8, example.com]
       |                   ^ did you mean 10.0.0.0/8?
node.yaml:6:31: trusted_proxies[1]: "example.com" is not an address or a prefix
     6 | trusted_proxies: [10.0.0.1/8, example.com]
       |                               ^ write 192.0.2.7 or 10.0.0.0/8`},
	{"a node file given as a service file", "service", goodNode, `shop.yaml:1:1: unknown key "name"
     1 | name: ams-1
       | ^ known here: service, owner, tier, hosts, certificate, objectives, origins, functions, purge, client_cookie, routes
shop.yaml:1:1: service: it is missing
     1 | name: ams-1
       | ^ add it
shop.yaml:1:1: hosts: it is missing
     1 | name: ams-1
       | ^ add it
shop.yaml:1:1: routes: it is missing
     1 | name: ams-1
       | ^ add it
shop.yaml:2:1: unknown key "pop"
     2 | pop: ams
       | ^ this is read as a service file; a node file is given with -c
`},
	{"a wildcard without quotes", "service", "hosts: [*]\nx: *.shop.example\n", `shop.yaml:1:9: aliases are not supported
     1 | hosts: [*]
       |         ^ as text it needs quotes: "*"
shop.yaml:2:4: aliases are not supported
     2 | x: *.shop.example
       |    ^ as text it needs quotes: "*.shop.example"`},
	{"YAML that people do not need", "service", "a: &x {b: c}\n<<: {d: e}\nf: !!str g\n%h: i\n", `shop.yaml:1:4: anchors are not supported
     1 | a: &x {b: c}
       |    ^ as text it needs quotes: "&x"
shop.yaml:2:1: merge keys are not supported
     2 | <<: {d: e}
       | ^ write the keys out
shop.yaml:3:4: tags are not supported
     3 | f: !!str g
       |    ^ as text it needs quotes: "!!str"
shop.yaml:4:1: directives are not supported
     4 | %h: i
       | ^ as text it needs quotes`},
	{"a second document", "service", "service: a\n---\nservice: b\n", `shop.yaml:2:1: a second document begins here
     2 | ---
       | ^ make it a file of its own`},
	{"an empty file", "service", "", `shop.yaml:1:1: the file is empty
     1 |
       | ^`},
	{"only comments", "node", "# nothing\n", `node.yaml:1:1: the file is empty
     1 | # nothing
       | ^`},
	{"not keys", "service", "- a\n", `shop.yaml:1:1: keys with values are expected here, not a list
     1 | - a
       | ^`},
	{"a tab", "service", "service: a\nhosts:\n\t- b\n", `shop.yaml:3:1: a tab cannot indent
     3 |  - b
       | ^ indent with spaces`},
	{"syntax", "service", "service: a\nhosts: [a, b\nroutes: []\n", `shop.yaml:3:1: ',' or ']' must be specified
     3 | routes: []
       | ^`},
	{"a reference within braces", "service", "owner: {a: ${env:X}}\n", `shop.yaml:1:13: ',' or '}' must be specified
     1 | owner: {a: ${env:X}}
       |             ^ within braces ${...} needs quotes`},
	{"not UTF-8", "service", "service: a\nowner: \"Zoë \xff\"\n", `shop.yaml:2:13: byte 0xFF is not UTF-8
     2 | owner: "Zoë �"
       |             ^ take it away`},
	{"a control character", "service", "owner: a\x1b[31mb\n", `shop.yaml:1:9: control character U+001B
     1 | owner: a·[31mb
       |         ^ take it away`},
	{"a value from outside that is wrong", "node", "deadlines:\n  head: ${env:TOKEN}\naccess_log: \"${env:TOKEN}\"\npop: ${env:TOKEN}x\ntrusted_proxies: [\"${env:NONE}\", \"${file:none}\", \"${secret:key}\", \"${\", \"${x}\"]\n", `node.yaml:2:9: deadlines.head: "${env:TOKEN}" is not a duration
     2 |   head: ${env:TOKEN}
       |         ^ write 250ms, 5s, 1m30s, 12h or 7d
node.yaml:3:13: "${env:TOKEN}" is not a place for the access log
     3 | access_log: "${env:TOKEN}"
       |             ^ write stdout, stderr, off, or a file with its folder such as ./access.log
node.yaml:5:19: trusted_proxies[0]: the environment variable "NONE" is not set
     5 | trusted_proxies: ["${env:NONE}", "${file:none}", "${secret:key}", "${", "${x}"]
       |                   ^
node.yaml:5:34: trusted_proxies[1]: read $FOLDER/none: there is no such file
     5 | trusted_proxies: ["${env:NONE}", "${file:none}", "${secret:key}", "${", "${x}"]
       |                                  ^
node.yaml:5:50: trusted_proxies[2]: ${secret:key} is for services that are deployed, a file that is run here has none
     5 | trusted_proxies: ["${env:NONE}", "${file:none}", "${secret:key}", "${", "${x}"]
       |                                                  ^ write ${env:NAME} or ${file:PATH}
node.yaml:5:67: trusted_proxies[3]: ${ has no }
     5 | trusted_proxies: ["${env:NONE}", "${file:none}", "${secret:key}", "${", "${x}"]
       |                                                                   ^ write $${ for the characters
node.yaml:5:73: trusted_proxies[4]: ${x} stands for nothing
     5 | trusted_proxies: ["${env:NONE}", "${file:none}", "${secret:key}", "${", "${x}"]
       |                                                                         ^ write ${env:NAME} or ${file:PATH}, and $${ for the characters`},
	{"a key that is wrong", "service", `service: shop
hosts: [shop.example]
origins: {"Web!": {endpoints: ["http://a"]}}
routes:
  - match: {path: /}
    redirect: {to: /y}
    cache: {}
    headers:
      request:
        set:
          Content-Length: 5
          x y: z
`, `shop.yaml:3:11: origin "Web!" is not a name
     3 | origins: {"Web!": {endpoints: ["http://a"]}}
       |           ^ write lower-case letters, digits and hyphens, at most 63
shop.yaml:7:5: route "/": cache has no use beside a redirect
     7 |     cache: {}
       |     ^ take it away
shop.yaml:11:11: route "/": field "Content-Length" cannot be edited
    11 |           Content-Length: 5
       |           ^ it belongs to the connection
shop.yaml:12:11: route "/": "x y" is not the name of a header field
    12 |           x y: z
       |           ^ write it without a colon and spaces`},
}

func TestEveryMistakeHasItsPlaceAndSaysWhatNow(t *testing.T) {
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			problems := problemsOf(m.kind, []byte(m.file))
			checkPlaces(t, []byte(m.file), problems)
			got := strings.ReplaceAll(problems.Error(), folder, "$FOLDER")
			want := m.want
			if strings.HasSuffix(want, "\n") { // only its beginning is wanted
				got = got[:min(len(got), len(want)-1)]
				want = want[:len(want)-1]
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func problemsOf(kind string, data []byte) selvage.Problems {
	if kind == "node" {
		_, problems := readTest("node.yaml", data, new(selvage.Node))
		return problems
	}
	_, problems := readTest("shop.yaml", data, new(selvage.Service))
	return problems
}

func TestLongLinesAreShownAroundTheCaret(t *testing.T) {
	file := "owner: \"x\"\ntier: 9" + strings.Repeat(" ", 200) + "# x\nx: {" + strings.Repeat("a: 1, ", 40) + "}\nhosts: [\"" + strings.Repeat("é", 120) + "\", 5x, [b]]\n"
	var got []string
	for _, p := range problemsOf("service", []byte(file)) {
		if strings.Contains(p.Message, "tier") || strings.Contains(p.Message, "hosts[2]") {
			got = append(got, p.Excerpt)
		}
	}
	want := []string{
		"     2 | tier: 9" + strings.Repeat(" ", 93) + "…\n       |       ^",
		"     4 | …" + strings.Repeat("é", 43) + "\", 5x, [b]]\n       | " + strings.Repeat(" ", 51) + "^",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOfVeryManyMistakesTheFirstAreShown(t *testing.T) {
	file := "service: a\nhosts: [a]\nroutes:\n" + strings.Repeat("  - {match: {path: /x}, nme: y}\n", 130)
	problems := problemsOf("service", []byte(file))
	if got, want := len(problems), maxProblems+1; got != want {
		t.Fatalf("got %d problems, want %d", got, want)
	}
	last := problems[maxProblems]
	if last.Line != 0 || !strings.HasSuffix(last.Message, "more mistakes are not shown") {
		t.Errorf("the last one is %+v", last)
	}
}

// TestHostileFilesAreRefusedBeforeTheyAreParsed has the shapes at which the
// library needs a time or a stack that grows with the square of the file.
func TestHostileFilesAreRefusedBeforeTheyAreParsed(t *testing.T) {
	const n = 1 << 16
	for _, c := range []struct{ name, file, want string }{
		{"open brackets", strings.Repeat("[", n), "this is nested deeper than 64 levels"},
		{"open braces", strings.Repeat("{", n), "this is nested deeper than 64 levels"},
		{"lists in lists", strings.Repeat("- ", n), "this is nested too deep"},
		{"keys in keys", strings.Repeat("? ", n), "this is nested too deep"},
		{"empty items", strings.Repeat("-\n", n), "more than 1000 keys have no value"},
		{"empty values", strings.Repeat("a:\n", n), "more than 1000 keys have no value"},
		{"words in braces", "{" + strings.Repeat("a, ", n) + "}", "more than 1000 keys have no value"},
		{"many keys", strings.Repeat("a: 1\n", n/8), "more than 4096 keys stand together"},
		{"aliases of aliases", "a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "anchors are not supported"},
		{"anchors", strings.Repeat("&a ", n), "anchors are not supported"},
		{"quotes", strings.Repeat("\"", n), "value is not allowed in this context"},
		{"too large", strings.Repeat("a", maxFile+1), "the file has 1048577B, the limit is 1MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			problems := problemsOf("service", []byte(c.file))
			if len(problems) == 0 || problems[0].Message != c.want {
				t.Errorf("got %v, want %q", fmt.Sprint(problems)[:min(200, len(fmt.Sprint(problems)))], c.want)
			}
		})
	}
}

// TestBoundsLeaveRoom reads a file as large as people ever have.
func TestBoundsLeaveRoom(t *testing.T) {
	var b strings.Builder
	b.WriteString("service: big\nhosts: [big.example]\norigins:\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "  o%d:\n    endpoints:\n      - http://10.0.%d.%d:80\n", i, i/256, i%256)
	}
	b.WriteString("routes:\n")
	for i := range 3000 {
		fmt.Fprintf(&b, "  - match: {path: /p%d/*}\n    origin: o%d\n    cache:\n", i, i%2000)
		if i > 900 {
			b.WriteString("      ttl: 1s\n")
		}
	}
	var s selvage.Service
	if _, problems := readTest("big.yaml", []byte(b.String()), &s); len(problems) > 0 {
		t.Fatal(problems[0])
	}
	if len(s.Origins) != 2000 || len(s.Routes) != 3000 {
		t.Errorf("got %d origins and %d routes", len(s.Origins), len(s.Routes))
	}
}

func TestDefaultsAreThoseOfTheTags(t *testing.T) {
	s, err := ParseService("shop.yaml", []byte(goodService))
	if err != nil {
		t.Fatal(err)
	}
	web, static := s.Origins["web"], s.Origins["static"]
	switch {
	case web.Health == nil || web.Health.Fall != 2 || web.Health.Every.String() != "2s":
		t.Errorf("health is %+v", web.Health)
	case static.Health != nil:
		t.Errorf("a group that is left out is there: %+v", static.Health)
	case static.Retry.Attempts != 3 || len(static.Retry.Statuses) != 3:
		t.Errorf("retry is %+v", static.Retry)
	case s.Routes[2].Cache.MaxBody != 64<<20 || s.Routes[2].Cache.Tags.Header != "Surrogate-Key":
		t.Errorf("cache is %+v", s.Routes[2].Cache)
	case !s.Routes[0].Log.Errors || s.Routes[0].Log.Share != 1:
		t.Errorf("log is %+v", s.Routes[0].Log)
	case !s.Routes[2].OnFailure[0].Stale || s.Routes[2].OnFailure[1].Default.Status != 503:
		t.Errorf("on_failure is %+v", s.Routes[2].OnFailure)
	}
	n := DefaultNode()
	if len(n.Listen) != 1 || n.Listen[0].Address != "127.0.0.1:8080" || n.Limits.Fields != 128 || n.Admin.OpenMetrics != "auto" {
		t.Errorf("the default node is %+v", n)
	}
	other := DefaultNode()
	n.Listen[0].Address = "changed"
	if other.Listen[0].Address != "127.0.0.1:8080" {
		t.Error("two nodes share their defaults")
	}
}

func TestTextTakesNumbersAsTheyAreWritten(t *testing.T) {
	_, err := ParseService("shop.yaml", []byte(`service: 007
owner: 1.20
hosts: [shop.example]
routes:
  - match: {path: /}
    redirect: {to: /x}
    headers: {response: {set: {A: 0x10, B: true, C: 1_000, D: yes, E: "", F: ~}}}
`))
	want := `shop.yaml:7:75: route "/": headers.response.set.F: it has no value`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Fatalf("got %v, want %q", err, want)
	}
	s, err := ParseService("shop.yaml", []byte("service: 007\nowner: 1.20\nhosts: [a]\nroutes: [{match: {path: /}, redirect: {to: /x}, headers: {response: {set: {A: 0x10, B: true, C: 1_000, D: yes, E: \"\"}}}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s %s %v", s.Service, s.Owner, s.Routes[0].Headers.Response.Set); got != "007 1.20 map[A:0x10 B:true C:1_000 D:yes E:]" {
		t.Errorf("got %s", got)
	}
}

// TestColonsWithinWordsEndNoKey has the places at which the library sees a key
// where YAML has none: a colon ends a key only before a space.
func TestColonsWithinWordsEndNoKey(t *testing.T) {
	for file, want := range map[string]string{
		"{a: [http://127.0.0.1:1, 2001:db8::/32, ::1, x]}": `{"a":["http://127.0.0.1:1","2001:db8::/32","::1","x"]}`,
		"{a: {b: [10.0.0.1:80,10.0.0.2:80]}}":              `{"a":{"b":["10.0.0.1:80","10.0.0.2:80"]}}`,
		"{a: [b: c, d]}":                                   `{"a":[{"b":"c"},"d"]}`,
		"{a: [\"b\": 5]}":                                  `{"a":[{"b":5}]}`,
		"{a: http://b:1, c: [12:30, 5]}":                   `{"a":"http://b:1","c":["12:30",5]}`,
		"a: [http://b:1]\nc: http://d:2 # e\n":             `{"a":["http://b:1"],"c":"http://d:2"}`,
	} {
		if got, err := ToJSON("x", []byte(file)); err != nil || string(got) != want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", file, got, err, want)
		}
	}
	problems := problemsOf("node", []byte("limits: {\"fields:5\": x}\n"))
	if len(problems) != 1 || problems[0].Hint != "write a space after the colon" {
		t.Errorf("got %v", problems)
	}
}

func TestWindowsLineEndsAndByteOrderMarksAreTaken(t *testing.T) {
	plain, err := ParseService("a.yaml", []byte(goodService))
	if err != nil {
		t.Fatal(err)
	}
	dos, err := ParseService("a.yaml", []byte("\ufeff"+strings.ReplaceAll(goodService, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	if Revision(plain) != Revision(dos) {
		t.Errorf("got %s, want %s", show(dos, nil), show(plain, nil))
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}
