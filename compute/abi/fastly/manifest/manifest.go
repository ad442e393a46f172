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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"

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
	// KV are the entries of the KV stores, by name and key.
	KV map[string]map[string]fastly.KVInsert
	// ACLs are the access control lists, by name.
	ACLs map[string]fastly.Prefixes
	// Places say where addresses are.
	Places map[netip.Addr]fastly.Place
	// Devices are what is known of devices, by their User-Agent: JSON, as programs read it.
	Devices map[string][]byte
	// Ignored are the sections that mean nothing here.
	Ignored []string
}

// Backend is an origin of a manifest.
type Backend struct {
	URL          *url.URL
	OverrideHost string
	CertHost     string
	SNI          *bool  // nil: as the URL says
	CA           []byte // PEM; empty: the system's
	Health       fastly.Health
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
	ClientCert   any    `toml:"client_certificate"`
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
}

// Read reads the manifest of a name in a folder, and the files that it names
// there. An error says where: shop/fastly.toml:7:3.
func Read(folder *os.Root, name string) (*Manifest, error) {
	r := &reader{folder, maxFiles}
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
	m := &Manifest{Name: f.Name, Language: f.Language, ServiceID: f.ServiceID, Build: f.Scripts.Build}
	if m.Version, err = version(f.Version); err == nil {
		err = r.fill(m, &f.Local)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
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

// fill fills a manifest in from the section local_server.
func (r *reader) fill(m *Manifest, l *local) error {
	m.Configs, m.Secrets = map[string]fastly.Map{}, map[string]fastly.Map{}
	m.KV, m.ACLs = map[string]map[string]fastly.KVInsert{}, map[string]fastly.Prefixes{}
	if len(l.Shielding) > 0 {
		m.Ignored = append(m.Ignored, "local_server.shielding_sites")
	}
	if len(l.Pushpin) > 0 {
		m.Ignored = append(m.Ignored, "local_server.pushpin")
	}
	for _, step := range []func() error{
		func() error { return r.backends(m, l.Backends) },
		func() error { return r.configs(m, l.Dictionaries) },
		func() error { return r.configs(m, l.ConfigStores) },
		func() error { return r.kv(m, l.ObjectStore) },
		func() error { return r.kv(m, l.ObjectStores) },
		func() error { return r.kv(m, l.KVStores) },
		func() error { return r.secrets(m, l.SecretStores) },
		func() error { return r.acls(m, l.ACLs) },
		func() error { return r.places(m, l.Geolocation) },
		func() error { return r.devices(m, l.Devices) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// sorted goes through a map in the order of its keys, so that the first mistake is always the same.
func sorted[V any](all map[string]V, do func(name string, v V) error) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := do(name, all[name]); err != nil {
			return err
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
		out := Backend{URL: u, OverrideHost: b.OverrideHost, CertHost: b.CertHost, SNI: b.SNI}
		switch b.Health {
		case "healthy":
			out.Health = fastly.Healthy
		case "unhealthy":
			out.Health = fastly.Unhealthy
		}
		if b.ClientCert != nil {
			m.Ignored = append(m.Ignored, "local_server.backends."+name+".client_certificate")
		}
		if out.CA, err = r.certificates(b.CA); err != nil {
			return fmt.Errorf("backend %q: %w", name, err)
		}
		m.Backends[name] = out
		return nil
	})
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
	key, metadata string
	data          []byte
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
		values := map[string]string{}
		if err := r.json(name, &values); err != nil {
			return err
		}
		return sorted(values, func(key, value string) error { return do(entry{key: key, data: []byte(value)}) })
	}
	return errors.New("a store is a list of entries, or {file = …, format = \"json\"}")
}

// entry is one, with its data: text, a file's, or an environment variable's.
func (r *reader) entry(t map[string]any) (e entry, err error) {
	text := func(name string) string {
		s, _ := t[name].(string)
		return s
	}
	e.key, e.metadata = text("key"), text("metadata")
	if e.key == "" {
		return e, errors.New("its key is missing")
	}
	switch {
	case t["data"] != nil:
		e.data = []byte(text("data"))
	case text("file")+text("path") != "":
		name := text("file")
		if name == "" {
			name = text("path")
		}
		e.data, err = r.read(name, maxFile)
	case text("env") != "":
		value, ok := os.LookupEnv(text("env"))
		if !ok {
			return e, fmt.Errorf("the environment has no %s", text("env"))
		}
		e.data = []byte(value)
	default:
		err = fmt.Errorf("%q has no data", e.key)
	}
	return e, err
}

func (r *reader) kv(m *Manifest, all map[string]any) error {
	return sorted(all, func(name string, v any) error {
		values := map[string]fastly.KVInsert{}
		m.KV[name] = values
		err := r.entries(v, func(e entry) error {
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
		m.Secrets[name] = values
		err := r.entries(v, func(e entry) error {
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
		m.ACLs[name] = list.Entries
		return nil
	})
}

// places are inline, or in a JSON file.
func (r *reader) places(m *Manifest, g geolocation) error {
	m.Places = map[netip.Addr]fastly.Place{}
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
