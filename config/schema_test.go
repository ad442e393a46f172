package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/selvage-edge/selvage"
)

func compile(t *testing.T, kind string) *jsonschema.Schema {
	t.Helper()
	data, err := Schema(kind)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// fits says whether a file has the form that its schema wants.
func fits(schema *jsonschema.Schema, data []byte) error {
	text, err := ToJSON("file", data)
	if err != nil {
		return err
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(instance)
}

// fragments are parts of service files, and whether their form is right. Every
// part stands below a service that is complete without it.
var fragments = []struct {
	part string
	ok   bool
}{
	{"tier: 1", true}, {"tier: 0", false}, {"tier: 4", false}, {"tier: one", false}, {"tier: 1.5", false}, {"tier: \"1\"", false}, {"tier: [1]", false}, {"tier: true", false}, {"tier: ${env:NUMBER}", true}, {"tier:", false},
	{"owner: me", true}, {"owner: 5", true}, {"owner: true", true}, {"owner: \"\"", true}, {"owner: [me]", false}, {"owner: {a: b}", false}, {"owner:", false}, {"ownr: me", false},
	{"objectives: {}", true}, {"objectives:", true}, {"objectives: {availability: 99.9%}", true}, {"objectives: {availability: 99.9}", false}, {"objectives: {availability: high}", false},
	{"objectives: {latency: {p99: 1m30s}}", true}, {"objectives: {latency: {p99: 1.5s}}", true}, {"objectives: {latency: {p99: 60}}", false}, {"objectives: {latency: {p99: 60 s}}", false}, {"objectives: {latency: {p99: 7d}}", true}, {"objectives: {latency: {p95: 1s}}", false}, {"objectives: [1]", false}, {"objectives: 5", false},
	{"origins: {}", true}, {"origins:", false}, {"origins: []", false}, {"origins: {w: {folder: .}}", true}, {"origins: {w: 5}", false}, {"origins: {w: {endpoints: http://a}}", false}, {"origins: {w: {endpoints: [\"http://a\"], protocol: h2c}}", true}, {"origins: {w: {endpoints: [\"http://a\"], protocol: h3}}", false},
	{"origins: {w: {folder: ., helth: {}}}", false}, {"origins: {w: {endpoints: [\"http://a\"], health: , retry: {attempts: 10, statuses: [500]}}}", true}, {"origins: {w: {endpoints: [\"http://a\"], retry: {attempts: 11}}}", false}, {"origins: {w: {endpoints: [\"http://a\"], retry: {statuses: [x]}}}", false}, {"origins: {w: {endpoints: [\"http://a\"], retry: {body: 1MB}}}", true}, {"origins: {w: {endpoints: [\"http://a\"], retry: {body: 1M}}}", false},
}

// routeFragments are parts of a route that is complete without them.
var routeFragments = []struct {
	part string
	ok   bool
}{
	{"log: all", true}, {"log: 1%", true}, {"log: some", false}, {"log: 5", false}, {"name: 5", true}, {"nmae: x", false},
	{"cors: {origins: [\"*\"]}", true}, {"cors: {}", false}, {"cors:", false}, {"cors: {origins: []}", false}, {"cors: {origins: [\"*\"], credentials: false}", true}, {"cors: {origins: [\"*\"], credentials: no}", false},
	{"limit: {rate: 5/s}", true}, {"limit: {rate: 5}", false}, {"limit: {rate: 5/d}", false}, {"limit: {burst: 5}", false}, {"limit: {rate: 5/s, burst: -1}", false}, {"limit: {rate: 5/s, per: route}", true}, {"limit: {rate: 5/s, per: \"header:X\"}", true}, {"limit: {rate: 5/s, per: user}", false},
	{"access: {allow: [10.0.0.0/8, \"::1\"]}", true}, {"access: {allow: [localhost]}", false}, {"access: {allow: 10.0.0.0/8}", false}, {"access: {basic_auth: {users: {}}}", false}, {"access: {basic_auth: {}}", false},
	{"headers: {request: {set: {A: 1, B: x}}}", true}, {"headers: {request: {set: [A]}}", false}, {"headers: {request: {set: {A: [x]}}}", false}, {"headers: {both: {}}", false}, {"headers:", true},
	{"max_body: 10MiB", true}, {"max_body: 10", false}, {"max_body: -1B", false}, {"redirect: {to: /y, status: 302}", true}, {"redirect: {to: /y, status: 300}", false}, {"redirect: {status: 302}", false}, {"redirect: {to: \"\"}", false},
}

// TestSchemaAndDecoderAgree holds both against the same files: what has the
// wrong form for one has it for the other.
func TestSchemaAndDecoderAgree(t *testing.T) {
	schema := compile(t, "service")
	check := func(file string, want bool) {
		t.Helper()
		err := fits(schema, []byte(file))
		doc := newDocument("shop.yaml", []byte(file))
		doc.expand.env = fakeEnv
		doc.service(new(selvage.Service))
		formOK := doc.form == 0 && doc.tree != nil
		if (err == nil) != want || formOK != want {
			t.Errorf("want %v\n%s\nschema: %v\ndecoder: %v", want, file, err, doc.finish())
		}
	}
	for _, f := range fragments {
		check("service: a\nhosts: [a]\nroutes: [{match: {path: /}, redirect: {to: /x}}]\n"+f.part+"\n", f.ok)
	}
	for _, f := range routeFragments {
		file := "service: a\nhosts: [a]\nroutes:\n- match: {path: /}\n  " + f.part + "\n"
		if !strings.HasPrefix(f.part, "redirect") {
			file += "  redirect: {to: /x}\n"
		}
		check(file, f.ok)
	}
	for _, ladder := range []struct {
		part string
		ok   bool
	}{{"[stale]", true}, {"[stael]", false}, {"[{stale: true}]", true}, {"[{default: {status: 503}}]", true}, {"[{default: }]", true}, {"[{default: {status: 199}}]", false}, {"[5]", false}, {"[null]", false}, {"stale", false}} {
		check("service: a\nhosts: [a]\norigins: {w: {folder: .}}\nroutes: [{match: {path: /}, origin: w, cache: {}, on_failure: "+ladder.part+"}]\n", ladder.ok)
	}
	for _, top := range []string{"{}", "[]", "a", "service: a\n", "hosts: [a]\nroutes: []\nservice: a\n", "service: a\nhosts: []\nroutes: [{match: {path: /}}]\n", "service: a\nhosts: [a]\nroutes: [null]\n", "service: a\nhosts: [[a]]\nroutes: [{match: {path: /}}]\n"} {
		check(top, false)
	}
	check(goodService, true)
	check(fullService, true)
	node := compile(t, "node")
	for _, file := range []string{goodNode, "pop: a\n", string(ShowNode(DefaultNode())), "tls: {min_version: 1.2}\n", "tls: {min_version: \"1.3\"}\n", "limits:\n  fields: ${env:NUMBER}\n"} {
		if err := fits(node, []byte(file)); err != nil {
			t.Errorf("%s\n%v", file, err)
		}
	}
	for _, file := range []string{"tls: {min_version: 1.1}\n", "listen: [{tls: true}]\n", "tls: {certificates: [{key: a}]}\n", "limits: {fields: 0}\n", "pops: a\n", "trusted_proxies: [host]\n"} {
		if fits(node, []byte(file)) == nil || len(problemsOf("node", []byte(file))) == 0 {
			t.Errorf("this is taken: %s", file)
		}
	}
}

// TestWhatIsShownFitsTheSchema also covers every default.
func TestWhatIsShownFitsTheSchema(t *testing.T) {
	schema := compile(t, "service")
	for _, file := range []string{goodService, fullService} {
		var s selvage.Service
		doc, problems := readTest("shop.yaml", []byte(file), &s)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if err := fits(schema, show(s, doc.outside())); err != nil {
			t.Error(err)
		}
	}
}

// TestExamplesOfTheSchemaAreRight checks every example and default of a schema
// against the schema itself.
func TestExamplesOfTheSchemaAreRight(t *testing.T) {
	for _, kind := range Kinds() {
		data, err := Schema(kind)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Properties map[string]any `json:"properties"`
			Defs       map[string]struct {
				Properties map[string]any   `json:"properties"`
				AnyOf      []map[string]any `json:"anyOf"`
			} `json:"$defs"`
		}
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		seen := 0
		check := func(pointer string, properties map[string]any) {
			c := jsonschema.NewCompiler()
			whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.AddResource("s.json", whole); err != nil {
				t.Fatal(err)
			}
			for key, p := range properties {
				sub, err := c.Compile("s.json#" + pointer + "/properties/" + key)
				if err != nil {
					t.Fatal(err)
				}
				p := p.(map[string]any)
				values, _ := p["examples"].([]any)
				if v, ok := p["default"]; ok {
					values = append(values, v)
				}
				for _, v := range values {
					seen++
					if err := sub.Validate(v); err != nil {
						t.Errorf("%s %s %s: %v is not a value: %v", kind, pointer, key, v, err)
					}
				}
			}
		}
		check("", doc.Properties)
		for name, def := range doc.Defs {
			check("/$defs/"+name, def.Properties)
			for i, alt := range def.AnyOf {
				if properties, ok := alt["properties"].(map[string]any); ok {
					check(fmt.Sprintf("/$defs/%s/anyOf/%d", name, i), properties)
				}
			}
		}
		if seen < 20 {
			t.Errorf("only %d examples and defaults were seen in the schema of a %s file", seen, kind)
		}
	}
}

func TestSchemaNamesTheKindsItHas(t *testing.T) {
	for kind, want := range map[string]string{
		"servcie": `"servcie" is not a kind of file: write service or node; did you mean "service"?`,
		"../x":    `"../x" is not a kind of file: write service or node`,
		"":        `"" is not a kind of file: write service or node`,
	} {
		_, err := Schema(kind)
		if err == nil || err.Error() != want || selvage.KindOf(err) != selvage.NotFound {
			t.Errorf("Schema(%q): got %v, want %s", kind, err, want)
		}
	}
}

func TestExplainFindsEveryKey(t *testing.T) {
	for _, f := range Fields() {
		out, err := Explain(f.Path)
		if err != nil || !strings.HasPrefix(out, f.Path+": ") || !strings.Contains(out, f.Doc) {
			t.Errorf("Explain(%q) = %q, %v", f.Path, out, err)
		}
	}
	for path, want := range map[string]string{
		"routes[2].cache.ttl": "routes[].cache.ttl: duration, default 0s\nHow long an answer is fresh that does not say it itself. With 0s it is a tenth of the time since its Last-Modified, at most an hour; one without that is not stored.\n\nexample: ttl: 60s\n",
		"origins.web.timeout": "origins.<name>.timeout: keys\nHow long is waited for it.\n\n  connect     duration, default 1s\n  first_byte  duration, default 30s\n  idle        duration, default 60s\n  total       duration, default 60s\n",
		"tier":                "tier: number, 1 to 3, default 2\nHow much it matters: 1 is what must not fail, 3 is what may.\n",
	} {
		if got, err := Explain(path); got != want || err != nil {
			t.Errorf("Explain(%q):\ngot  %q, %v\nwant %q", path, got, err, want)
		}
	}
	all, err := Explain("")
	for _, want := range []string{"service file\n", "node file\n", "  hosts          list of text, required\n", "  access_log       text, default stderr\n"} {
		if err != nil || !strings.Contains(all, want) {
			t.Errorf("Explain(\"\") has no %q: %v\n%s", want, err, all)
		}
	}
}

func TestExplainSaysWhatIsNear(t *testing.T) {
	for path, want := range map[string]string{
		"route":                `no file has key "route": did you mean "routes"?`,
		"routes.cache.tll":     `routes[].cache has no key "tll": did you mean "routes.cache.ttl"?`,
		"origins.web.helth":    `origins has no key "helth": did you mean "origins.web.health"?`,
		"objectives.zzz":       `objectives has no key "zzz": known there are availability, latency`,
		"tier.x":               `tier has no key "x"`,
		"routes.match.hosts.a": `routes[].match.hosts has no key "a"`,
	} {
		out, err := Explain(path)
		if err == nil || err.Error() != want || selvage.KindOf(err) != selvage.NotFound {
			t.Errorf("Explain(%q) = %q\ngot  %v\nwant %s", path, out, err, want)
		}
	}
}
