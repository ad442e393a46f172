package selvage

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// Function is a WebAssembly program of the user's. Each request runs in a sandbox
// of its own, and is ended at the limits: it can hurt nobody but itself.
type Function struct {
	// The program, relative to the service file: a core module of WebAssembly, as compilers for wasm32-wasi make it.
	Module string `yaml:"module" required:"true" example:"./greet.wasm"`
	// The guest interface that it was made for: fastly (Fastly Compute), http-wasm (middleware), or wasi (a plain program for WASI preview 1 that handles a request as CGI has it: in its environment and standard input). auto tells by what it imports.
	Interface string `yaml:"interface" default:"auto" enum:"auto,fastly,http-wasm,wasi"`
	// How long it may compute for one request.
	CPU Duration `yaml:"cpu" default:"50ms"`
	// How long a request may take in all, waiting included.
	Wall Duration `yaml:"wall" default:"2m"`
	// Its linear memory.
	Memory ByteSize `yaml:"memory" default:"128MiB"`
	// The stack of its compiled code.
	Stack ByteSize `yaml:"stack" default:"1MiB"`
	// How many requests to origins it may make for one request.
	Fetches int `yaml:"fetches" default:"32" min:"0" max:"10000"`
	// How much it may write to its logs for one request. More is dropped.
	Log ByteSize `yaml:"log" default:"64KiB"`
	// How large the header of its answer may be.
	Headers ByteSize `yaml:"headers" default:"64KiB"`
	// How many requests are in it at once. More wait.
	Sandboxes int `yaml:"sandboxes" default:"64" min:"1" max:"10000"`
	// Whether a sandbox goes back to where the program first asked for a request, or the program starts anew for each request: on or off. Seeds of random numbers that it takes while it starts are then the same for several requests.
	Rewind string `yaml:"rewind" default:"on" enum:"on,off"`
	// How many requests a sandbox serves in turn where the program asks for the next one itself (reusable sandboxes of Fastly Compute, as ServeMany and setReusableSandboxOptions make them). They see what the program kept of those before, and each has limits of its own. 1: a sandbox knows one request.
	Reuse int `yaml:"reuse" default:"1" min:"1" max:"10000"`
	// Its environment variables.
	Env map[string]string `yaml:"env" example:"{GREETING: hello}"`
	// What becomes of a request when it traps, hits a limit or gives no answer, before the first byte: 500, pass (the route's origin answers), previous (the function of the last promoted revision before this one tries), or default (its default answer).
	OnFailure string `yaml:"on_failure" default:"500" enum:"500,pass,previous,default"`
	// The answer for on_failure: default.
	Default *DefaultAnswer `yaml:"default"`
	// Other names that it has for the service's origins. Each origin has its own name too.
	Backends map[string]OriginName `yaml:"backends" example:"{backend_1: web}"`
	// The origin of every name that is neither an origin's nor in backends. Without it there is none of such a name.
	OtherBackends OriginName `yaml:"other_backends" example:"web"`
	// Config stores, by name: texts by their keys.
	Config map[string]map[string]string `yaml:"config" example:"{settings: {colour: blue}}"`
	// Secret stores, by name: texts by their keys. A deployed service writes ${secret:NAME}.
	Secrets map[string]map[string]string `yaml:"secrets" example:"{keys: {api: \"${secret:api-key}\"}}"`
	// For the interface http-wasm.
	HTTPWasm HTTPWasm `yaml:"http_wasm"`
	// KV stores that it may use, by name. All functions of a service share one of the same name, on all nodes, and it outlives them.
	KV []string `yaml:"kv" example:"[carts]"`
	// What KV stores have at first, by store and key. Each entry is written once: what a program makes of it later stays. Where the service's own file runs, one that is changed in the file is written again.
	KVInitial map[string]map[string]KVEntry `yaml:"kv_initial" example:"{carts: {welcome: {text: hello}}}"`
	// Access control lists, by name.
	ACLs map[string]ACL `yaml:"acls" example:"{blocked: {block: [192.0.2.0/24]}}"`
	// Where addresses are, for tests: the JSON that a program is told of an address, before the node's databases are asked.
	Places map[string]string `yaml:"places" example:"{192.0.2.1: '{\"city\":\"Bern\"}'}"`
	// What devices are, for tests: the JSON that a program is told of a User-Agent, before the User-Agent itself is looked at.
	Devices map[string]string `yaml:"devices" example:"{phone/1: '{\"device\":{\"is_mobile\":true}}'}"`
	// The SHA-256 of the module when the file was read; never written by hand.
	Digest string `yaml:"-"`
}

// HTTPWasm is what only programs for the http-wasm handler interface have.
type HTTPWasm struct {
	// What the program gets as its configuration: a text that it understands.
	Config string `yaml:"config" example:"allow=/a"`
	// The least of its log that is written.
	LogLevel string `yaml:"log_level" default:"info" enum:"debug,info,warn,error,none"`
	// How much is kept of a request's bodies, where it asks for whole ones or writes its own.
	Buffer ByteSize `yaml:"buffer" default:"16MiB"`
}

// KVEntry is what a KV store has at first for a key: a text, or what a file holds.
type KVEntry struct {
	// Its value.
	Text string `yaml:"text" example:"hello"`
	// A file with its value instead, relative to the service file, of at most 25 MiB.
	File string `yaml:"file" example:"./menu.json"`
	// Its metadata, at most 2000 bytes.
	Metadata string `yaml:"metadata"`
	// What the file held when it was read; never written by hand.
	Content []byte `yaml:"-"`
}

// Value is what is to be stored.
func (e *KVEntry) Value() []byte {
	if e.File != "" {
		return e.Content
	}
	return []byte(e.Text)
}

// ACL is an access control list. Of the entries that have an address the narrowest counts.
type ACL struct {
	// Addresses to block.
	Block []Prefix `yaml:"block" example:"[192.0.2.0/24]"`
	// Addresses to allow.
	Allow []Prefix `yaml:"allow" example:"[192.0.2.7/32]"`
	// A file with more of both in the JSON of Fastly's API, relative to the service file: {"entries": [{"prefix": "192.0.2.0/24", "action": "BLOCK"}]}.
	File string `yaml:"file" example:"./blocked.json"`
	// What the file held when it was read; never written by hand.
	Content []byte `yaml:"-"`
}

// ACLEntries are those of the file of an [ACL].
type ACLEntries []struct {
	Op     string       `json:"op"` // create or update; delete takes one away
	Prefix netip.Prefix `json:"prefix"`
	Action string       `json:"action"` // ALLOW or BLOCK
}

// Entries are those of the file. Errors say what is wrong with it.
func (l *ACL) Entries() (ACLEntries, error) {
	if l.File == "" {
		return nil, nil
	}
	var list struct {
		Entries ACLEntries `json:"entries"`
	}
	if err := json.Unmarshal(l.Content, &list); err != nil {
		return nil, err
	}
	for i, e := range list.Entries {
		if action := strings.ToUpper(e.Action); action != "ALLOW" && action != "BLOCK" && e.Op != "delete" {
			return nil, fmt.Errorf("entry %d: action %q is neither ALLOW nor BLOCK", i+1, e.Action)
		}
		if !e.Prefix.IsValid() {
			return nil, fmt.Errorf("entry %d has no prefix", i+1)
		}
	}
	return list.Entries, nil
}

// FallsBack says whether a function of the service wants the one before it where it fails.
func (s *Service) FallsBack() bool {
	for _, f := range s.Functions {
		if f.OnFailure == FailWithPrevious {
			return true
		}
	}
	return false
}

// NodeFunctions is what a machine lets functions do.
type NodeFunctions struct {
	// Services whose functions may name origins themselves (dynamic backends). Every address is checked after its name is resolved: loopback, private, link-local and metadata addresses and our own listeners are refused.
	DynamicBackends []ServiceName `yaml:"dynamic_backends" example:"[shop]"`
	// Addresses that dynamic backends may have although they would be refused.
	DialAllow []Prefix `yaml:"dial_allow" example:"[10.1.0.0/16]"`
	// Databases that say where an address is (MaxMind DB files, as of GeoLite2 or DB-IP), for functions that ask. The first that knows a fact counts. They are read again at the next start.
	Geo []string `yaml:"geo" example:"[/var/lib/GeoIP/GeoLite2-City.mmdb, /var/lib/GeoIP/GeoLite2-ASN.mmdb]"`
	// How many modules are compiled at once; more wait.
	Compilers int `yaml:"compilers" default:"1" min:"1" max:"64"`
}

// What a function's OnFailure may be.
const (
	FailWith500      = "500"
	FailPass         = "pass"
	FailWithPrevious = "previous"
	FailWithDefault  = "default"
)
