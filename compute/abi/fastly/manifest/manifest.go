// Package manifest reads what Fastly's command line writes: fastly.toml, and the
// packages that it builds.
//
// Look at [Read] first: a [Manifest] has everything that the file names already
// read, and [Manifest.Fill] makes the services of a function of it. [Unpack]
// takes the program out of a package.
//
// It promises that no file outside of the manifest's folder is read, that all
// that is read is bounded, and that a mistake is told with its place. It
// refuses versions that it does not know. Sections that mean nothing here are
// ignored, and [Manifest.Ignored] names them.
package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/selvage-edge/selvage/compute/abi/fastly"
)

// The bounds of what is read.
const (
	maxManifest = 1 << 20   // bytes of fastly.toml
	maxFile     = 25 << 20  // bytes of a file that it names
	maxFiles    = 256 << 20 // bytes of all of them
	lastVersion = 3
)

// Manifest is a fastly.toml with the files that it names.
type Manifest struct {
	Version   int
	Name      string
	Language  string
	ServiceID string
	Build     string // the command that builds the program
	// Backends are the origins, by name.
	Backends map[string]Backend
	// Configs are the config stores and dictionaries, by name.
	Configs map[string]fastly.Map
	// Secrets are the secret stores, by name.
	Secrets map[string]fastly.Map
	// SecretVariables are the environment variables that secrets came from, by name and key.
	SecretVariables map[string]map[string]string
	// KV are the entries of the KV stores, by name and key.
	KV map[string]map[string]fastly.KVInsert
	// KVFiles are the files that entries came from, by name and key.
	KVFiles map[string]map[string]string
	// ACLs are the access control lists, by name, and ACLFiles where they came from.
	ACLs     map[string]fastly.Prefixes
	ACLFiles map[string]string
	// Places say where addresses are.
	Places map[netip.Addr]fastly.Place
	// Devices are what is known of devices, by their User-Agent: JSON, as programs read it.
	Devices map[string][]byte
	// Ignored is what means nothing here, in the order of the lines.
	Ignored []Ignored

	file  string
	lines lines
}

// Backend is an origin of a manifest.
type Backend struct {
	URL          *url.URL
	OverrideHost string
	CertHost     string
	SNI          *bool  // nil: as the URL says
	CA           []byte // PEM; empty: the system's
	// CAFile is where CA came from, if it came from one file alone. CertificateFile and
	// KeyFile are what we show.
	CAFile, CertificateFile, KeyFile string
	Health                           fastly.Health
	GRPC                             bool
	FirstByte, BetweenBytes          time.Duration // 0: not said
}

// file is fastly.toml as it is written.
type file struct {
	Version   any    `toml:"manifest_version"`
	Name      string `toml:"name"`
	Language  string `toml:"language"`
	ServiceID string `toml:"service_id"`
	Scripts   struct {
		Build string `toml:"build"`
	} `toml:"scripts"`
	Local local `toml:"local_server"`
}

// local is its section local_server.
type local struct {
	Backends     map[string]backend `toml:"backends"`
	Dictionaries map[string]store   `toml:"dictionaries"`
	ConfigStores map[string]store   `toml:"config_stores"`
	KVStores     map[string]any     `toml:"kv_stores"`
	ObjectStores map[string]any     `toml:"object_stores"`
	ObjectStore  map[string]any     `toml:"object_store"`
	SecretStores map[string]any     `toml:"secret_stores"`
	ACLs         map[string]any     `toml:"acls"`
	Geolocation  geolocation        `toml:"geolocation"`
	Devices      devices            `toml:"device_detection"`
	Shielding    map[string]any     `toml:"shielding_sites"`
	Pushpin      map[string]any     `toml:"pushpin"`
}

type backend struct {
	URL          string `toml:"url"`
	OverrideHost string `toml:"override_host"`
	CertHost     string `toml:"cert_host"`
	SNI          *bool  `toml:"use_sni"`
	CA           any    `toml:"ca_certificate"`
	Health       string `toml:"health"`
	ClientCert   *struct {
		CertificateFile string `toml:"certificate_file"`
		KeyFile         string `toml:"key_file"`
		Certificate     string `toml:"certificate"`
		Key             string `toml:"key"`
	} `toml:"client_certificate"`
	GRPC         bool  `toml:"grpc"`
	FirstByte    int64 `toml:"first_byte_timeout_ms"`
	BetweenBytes int64 `toml:"between_bytes_timeout_ms"`
}

type store struct {
	Format   string            `toml:"format"`
	File     string            `toml:"file"`
	Contents map[string]string `toml:"contents"`
}

type geolocation struct {
	Format    string         `toml:"format"`
	File      string         `toml:"file"`
	Addresses map[string]any `toml:"addresses"`
	Loopback  *bool          `toml:"use_default_loopback"`
}

type devices struct {
	Format string         `toml:"format"`
	File   string         `toml:"file"`
	Agents map[string]any `toml:"user_agents"`
}

// reader reads the files of a folder, up to a bound.
type reader struct {
	folder *os.Root
	left   int64
	lines  lines
}

// ignore notes something that does nothing here.
func (r *reader) ignore(m *Manifest, why string, path ...string) {
	path = append([]string{"local_server"}, path...)
	m.Ignored = append(m.Ignored, Ignored{strings.Join(path, "."), r.lines.of(path...), why})
}

// Read reads the manifest of a name in a folder, and the files that it names
// there. An error says where: shop/fastly.toml:7:3.
func Read(folder *os.Root, name string) (*Manifest, error) {
	r := &reader{folder: folder, left: maxFiles}
	text, err := r.read(name, maxManifest)
	if err != nil {
		return nil, err
	}
	var f file
	if err := toml.Unmarshal(text, &f); err != nil {
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, column := at.Position()
			return nil, fmt.Errorf("%s:%d:%d: %s", name, line, column, at.Error())
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	m := &Manifest{file: name, Name: f.Name, Language: f.Language, ServiceID: f.ServiceID, Build: f.Scripts.Build}
	if m.Version, err = version(f.Version); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	m.lines = linesOf(text)
	r.lines = m.lines
	if section, err := r.fill(m, &f.Local); err != nil {
		return nil, r.lines.at(name, section, err)
	}
	m.Ignored = append(m.Ignored, r.lines.unknown()...)
	slices.SortFunc(m.Ignored, func(a, b Ignored) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key)) })
	return m, nil
}

// At is where something of the section local_server is written, as in fastly.toml:7.
func (m *Manifest) At(path ...string) string {
	if line := m.lines.of(append([]string{"local_server"}, path...)...); line > 0 {
		return fmt.Sprintf("%s:%d", m.file, line)
	}
	return m.file
}

// version is the manifest's version, which is written as a number or as text.
func version(v any) (int, error) {
	n, err := strconv.Atoi(fmt.Sprint(v))
	switch {
	case v == nil:
		return lastVersion, nil // examples and tests leave it out
	case err != nil || n < 1 || n > lastVersion:
		return 0, fmt.Errorf("manifest_version %v is not known: 3 is the newest that is", v)
	}
	return n, nil
}

// read reads a file of the folder.
func (r *reader) read(name string, most int64) ([]byte, error) {
	f, err := r.folder.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	most = min(most, r.left)
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("read %s: it is larger than %d bytes", name, most)
	}
	r.left -= int64(len(data))
	return data, nil
}

// fill fills a manifest in from the section local_server. With an error it says in
// which section of that it is.
func (r *reader) fill(m *Manifest, l *local) (section string, err error) {
	m.Configs, m.Secrets = map[string]fastly.Map{}, map[string]fastly.Map{}
	m.KV, m.ACLs = map[string]map[string]fastly.KVInsert{}, map[string]fastly.Prefixes{}
	m.SecretVariables, m.KVFiles, m.ACLFiles = map[string]map[string]string{}, map[string]map[string]string{}, map[string]string{}
	if len(l.Shielding) > 0 {
		r.ignore(m, "there are no shields here", "shielding_sites")
	}
	if len(l.Pushpin) > 0 {
		r.ignore(m, "there is no fanout here", "pushpin")
	}
	for _, step := range []struct {
		section string
		do      func() error
	}{
		{"backends", func() error { return r.backends(m, l.Backends) }},
		{"dictionaries", func() error { return r.configs(m, l.Dictionaries) }},
		{"config_stores", func() error { return r.configs(m, l.ConfigStores) }},
		{"object_store", func() error { return r.kv(m, l.ObjectStore) }},
		{"object_stores", func() error { return r.kv(m, l.ObjectStores) }},
		{"kv_stores", func() error { return r.kv(m, l.KVStores) }},
		{"secret_stores", func() error { return r.secrets(m, l.SecretStores) }},
		{"acls", func() error { return r.acls(m, l.ACLs) }},
		{"geolocation", func() error { return r.places(m, l.Geolocation) }},
		{"device_detection", func() error { return r.devices(m, l.Devices) }},
	} {
		if err := step.do(); err != nil {
			return step.section, err
		}
	}
	return "", nil
}

// sorted goes through a map in the order of its keys, so that the first mistake is always the same.
func sorted[V any](all map[string]V, do func(name string, v V) error) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := do(name, all[name]); err != nil {
			return &placed{name, err}
		}
	}
	return nil
}

func (r *reader) backends(m *Manifest, all map[string]backend) error {
	m.Backends = map[string]Backend{}
	return sorted(all, func(name string, b backend) error {
		u, err := url.Parse(b.URL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("backend %q: url %q is no URL of a server", name, b.URL)
		}
		out := Backend{
			URL: u, OverrideHost: b.OverrideHost, CertHost: b.CertHost, SNI: b.SNI, GRPC: b.GRPC,
			FirstByte: milliseconds(b.FirstByte), BetweenBytes: milliseconds(b.BetweenBytes),
		}
		switch strings.ToLower(b.Health) {
		case "healthy":
			out.Health = fastly.Healthy
		case "unhealthy":
			out.Health = fastly.Unhealthy
		case "", "unknown":
		default:
			return fmt.Errorf("backend %q: health %q is neither healthy nor unhealthy nor unknown", name, b.Health)
		}
		if c := b.ClientCert; c != nil {
			if c.Certificate != "" || c.Key != "" || c.CertificateFile == "" || c.KeyFile == "" {
				return fmt.Errorf("backend %q: client_certificate: name its files with certificate_file and key_file", name)
			}
			out.CertificateFile, out.KeyFile = c.CertificateFile, c.KeyFile
		}
		if out.CA, err = r.certificates(b.CA); err != nil {
			return fmt.Errorf("backend %q: %w", name, err)
		}
		if t, ok := b.CA.(map[string]any); ok {
			out.CAFile, _ = t["file"].(string)
		}
		m.Backends[name] = out
		return nil
	})
}

func milliseconds(n int64) time.Duration {
	return time.Duration(max(0, min(n, math.MaxInt32))) * time.Millisecond
}

// certificates are texts, files, or lists of both.
func (r *reader) certificates(v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []byte(v + "\n"), nil
	case map[string]any:
		if name, ok := v["file"].(string); ok {
			return r.read(name, maxFile)
		}
		if text, ok := v["value"].(string); ok {
			return []byte(text + "\n"), nil
		}
	case []any:
		var out []byte
		for _, one := range v {
			data, err := r.certificates(one)
			if err != nil {
				return nil, err
			}
			out = append(append(out, data...), '\n')
		}
		return out, nil
	}
	return nil, errors.New("ca_certificate is a certificate, {file = …}, {value = …} or a list of them")
}

// configs are config stores: inline, or of a JSON file.
func (r *reader) configs(m *Manifest, all map[string]store) error {
	return sorted(all, func(name string, s store) error {
		values := fastly.Map(s.Contents)
		switch s.Format {
		case "json":
			if err := r.json(s.File, &values); err != nil {
				return fmt.Errorf("config store %q: %w", name, err)
			}
		case "inline-toml", "":
			if values == nil {
				return fmt.Errorf("config store %q: there are no contents", name)
			}
		default:
			return fmt.Errorf("config store %q: format %q is neither json nor inline-toml", name, s.Format)
		}
		m.Configs[name] = values
		return nil
	})
}

// json reads a JSON file.
func (r *reader) json(name string, into any) error {
	if name == "" {
		return errors.New("the name of its file is missing")
	}
	data, err := r.read(name, maxFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// entry is one entry of a KV or secret store.
type entry struct {
	key, metadata  string
	data           []byte
	file, variable string // where data came from, if from there
}

// entries are those of a store: a list, or a JSON file.
func (r *reader) entries(v any, do func(e entry) error) error {
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			t, ok := item.(map[string]any)
			if !ok {
				return fmt.Errorf("entry %d is no table", i+1)
			}
			e, err := r.entry(t)
			if err != nil {
				return fmt.Errorf("entry %d: %w", i+1, err)
			}
			if err := do(e); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		name, _ := v["file"].(string)
		if format, there := v["format"]; there && format != "json" {
			return fmt.Errorf("format %v is not json", format)
		}
		values := map[string]any{}
		if err := r.json(name, &values); err != nil {
			return err
		}
		return sorted(values, func(key string, value any) error {
			if text, ok := value.(string); ok {
				return do(entry{key: key, data: []byte(text)})
			}
			t, ok := value.(map[string]any)
			if !ok {
				return fmt.Errorf("%q is neither a text nor a table", key)
			}
			t["key"] = key
			e, err := r.entry(t)
			if err != nil {
				return err
			}
			return do(e)
		})
	}
	return errors.New("a store is a list of entries, or {file = …, format = \"json\"}")
}

// entry is one, with its data: text, a file's, or an environment variable's.
func (r *reader) entry(t map[string]any) (e entry, err error) {
	texts := map[string]string{}
	for _, name := range []string{"key", "metadata", "data", "file", "path", "env"} {
		if v, there := t[name]; there {
			text, ok := v.(string)
			if !ok {
				return e, fmt.Errorf("its %s is no text", name)
			}
			texts[name] = text
		}
	}
	e.key, e.metadata = texts["key"], texts["metadata"]
	if e.key == "" {
		return e, errors.New("its key is missing")
	}
	sources := 0
	for _, name := range []string{"data", "file", "path", "env"} {
		if _, there := texts[name]; there {
			sources++
		}
	}
	if sources != 1 {
		return e, fmt.Errorf("%q has %d of data, file and env, and one is wanted", e.key, sources)
	}
	if text, there := texts["data"]; there {
		e.data = []byte(text)
		return e, nil
	}
	if variable, there := texts["env"]; there {
		value, ok := os.LookupEnv(variable)
		if !ok {
			return e, fmt.Errorf("the environment has no %s", variable)
		}
		e.data, e.variable = []byte(value), variable
		return e, nil
	}
	e.file = texts["file"] + texts["path"] // it was path once
	e.data, err = r.read(e.file, maxFile)
	return e, err
}

func (r *reader) kv(m *Manifest, all map[string]any) error {
	return sorted(all, func(name string, v any) error {
		values := map[string]fastly.KVInsert{}
		m.KV[name], m.KVFiles[name] = values, map[string]string{}
		err := r.entries(v, func(e entry) error {
			if !fastly.IsKVKey(e.key) {
				return fmt.Errorf("%q is no key: %s", e.key, fastly.KVKeys)
			}
			if e.file != "" {
				m.KVFiles[name][e.key] = e.file
			}
			values[e.key] = fastly.KVInsert{Body: e.data, Metadata: e.metadata}
			return nil
		})
		if err != nil {
			return fmt.Errorf("KV store %q: %w", name, err)
		}
		return nil
	})
}

func (r *reader) secrets(m *Manifest, all map[string]any) error {
	return sorted(all, func(name string, v any) error {
		values := fastly.Map{}
		m.Secrets[name], m.SecretVariables[name] = values, map[string]string{}
		err := r.entries(v, func(e entry) error {
			if e.variable != "" {
				m.SecretVariables[name][e.key] = e.variable
			}
			values[e.key] = string(e.data)
			return nil
		})
		if err != nil {
			return fmt.Errorf("secret store %q: %w", name, err)
		}
		return nil
	})
}

// acls are lists, each in a JSON file.
func (r *reader) acls(m *Manifest, all map[string]any) error {
	return sorted(all, func(name string, v any) error {
		where, ok := v.(string)
		if t, is := v.(map[string]any); is {
			where, ok = t["file"].(string)
		}
		if !ok {
			return fmt.Errorf("access control list %q: it is the name of a file, or {file = …}", name)
		}
		var list struct {
			Entries fastly.Prefixes `json:"entries"`
		}
		if err := r.json(where, &list); err != nil {
			return fmt.Errorf("access control list %q: %w", name, err)
		}
		m.ACLs[name], m.ACLFiles[name] = list.Entries, where
		return nil
	})
}

// loopback is where clients on this machine are taken to be, as Fastly's local server has it,
// so that programs which ask where their client is can be tried out.
var loopback = fastly.Place{
	ASName: "Fastly, Inc", ASNumber: 54113, AreaCode: 415, City: "San Francisco", ConnSpeed: "broadband", ConnType: "wired", Continent: "NA",
	CountryCode: "US", CountryCode3: "USA", CountryName: "United States of America", GMTOffset: -700, Latitude: 37.77869, Longitude: -122.39557,
	PostalCode: "94107", ProxyDescription: "?", ProxyType: "?", Region: "CA", UTCOffset: -700,
}

// places are inline, or in a JSON file.
func (r *reader) places(m *Manifest, g geolocation) error {
	m.Places = map[netip.Addr]fastly.Place{}
	if g.Loopback == nil || *g.Loopback {
		for _, here := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
			m.Places[here] = loopback
		}
	}
	all := g.Addresses
	if g.Format == "json" {
		if err := r.json(g.File, &all); err != nil {
			return fmt.Errorf("geolocation: %w", err)
		}
	}
	return sorted(all, func(name string, v any) error {
		a, err := netip.ParseAddr(name)
		if err != nil {
			return fmt.Errorf("geolocation: %w", err)
		}
		var place fastly.Place
		text, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(text, &place)
		}
		if err != nil {
			return fmt.Errorf("geolocation of %s: %w", name, err)
		}
		m.Places[a.Unmap()] = place
		return nil
	})
}

// devices are inline, or in a JSON file.
func (r *reader) devices(m *Manifest, d devices) error {
	m.Devices = map[string][]byte{}
	all := d.Agents
	if d.Format == "json" {
		if err := r.json(d.File, &all); err != nil {
			return fmt.Errorf("device detection: %w", err)
		}
	}
	return sorted(all, func(agent string, v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("device detection of %q: %w", agent, err)
		}
		m.Devices[agent] = text
		return nil
	})
}
