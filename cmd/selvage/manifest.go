package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/compute/abi/fastly/manifest"
)

// manifestRead is what was read of a fastly.toml: the service, which of its values
// came from the environment, and what of the file does nothing here.
type manifestRead struct {
	service selvage.Service
	outside selvage.Outside
	ignored []string
}

// manifestService is the service of a fastly.toml: the program that was built
// beside it, with what its section local_server says.
func manifestService(name string) (r manifestRead, err error) {
	folder := filepath.Dir(name)
	root, err := os.OpenRoot(folder)
	if err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	defer func() { _ = root.Close() }() // it was only read
	m, err := manifest.Read(root, filepath.Base(name))
	if err != nil {
		return r, err
	}
	module := filepath.Join(folder, "bin", "main.wasm")
	if _, err := os.Stat(module); errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("%s: there is no %s: build it first, with %q", name, module, m.Build)
	}
	for _, i := range m.Ignored {
		r.ignored = append(r.ignored, fmt.Sprintf("%s:%d: %s: %s", filepath.Base(name), i.Line, i.Key, i.Why))
	}
	f := serviceForm{
		Service: serviceWord(m.Name), Hosts: []string{"*"}, Origins: map[string]originForm{}, Functions: map[string]functionForm{},
		Routes: []routeForm{{Match: map[string]string{"path": "/*"}, Function: "main", Cache: new(struct{})}},
	}
	main, err := manifestFunction(m)
	if err != nil {
		return r, err
	}
	for i, backend := range slices.Sorted(maps.Keys(m.Backends)) {
		origin := fmt.Sprintf("backend-%d", i+1) // its own name may be none of ours
		form, without, err := manifestOrigin(m, backend)
		if err != nil {
			return r, err
		}
		r.ignored = append(r.ignored, without...)
		f.Origins[origin], main.Backends[backend] = form, origin
	}
	f.Functions["main"] = main
	r.service, r.outside, err = f.service(name)
	return r, err
}

// serviceWord makes a service's name of what somebody calls his program.
func serviceWord(name string) string {
	word := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name)), "-")
	if word == "" || len(word) > 63 {
		return "quick"
	}
	return word
}

// manifestFunction is the program with the stores, lists and tables of the manifest.
func manifestFunction(m *manifest.Manifest) (functionForm, error) {
	f := functionForm{
		Module: "bin/main.wasm", CPU: deskCPU, Config: m.Configs, Secrets: map[string]fastly.Map{}, Backends: map[string]string{},
		KV: slices.Sorted(maps.Keys(m.KV)), KVInitial: map[string]map[string]kvEntry{}, ACLs: map[string]aclForm{},
		Places: map[string]string{}, Devices: map[string]string{},
	}
	for store, values := range m.Secrets {
		f.Secrets[store] = maps.Clone(values)
		for key, variable := range m.SecretVariables[store] {
			f.Secrets[store][key] = outside + variable + "}"
		}
	}
	for store, entries := range m.KV {
		f.KVInitial[store] = map[string]kvEntry{}
		for key, e := range entries {
			one := kvEntry{Text: string(e.Body), File: m.KVFiles[store][key], Metadata: e.Metadata}
			if one.File != "" {
				one.Text = ""
			} else if !utf8.ValidString(one.Text) {
				return f, fmt.Errorf("%s: KV store %q: key %q: what is no text is given in a file", m.At("kv_stores", store), store, key)
			}
			f.KVInitial[store][key] = one
		}
	}
	for list, file := range m.ACLFiles {
		f.ACLs[list] = aclForm{file}
	}
	for address, place := range m.Places {
		text, err := json.Marshal(place)
		if err != nil {
			return f, fmt.Errorf("%s: %w", m.At("geolocation"), err)
		}
		f.Places[address.String()] = string(text)
	}
	for agent, text := range m.Devices {
		f.Devices[agent] = string(text)
	}
	return f, nil
}

// manifestOrigin is a backend as an origin, and what of it does nothing here.
func manifestOrigin(m *manifest.Manifest, name string) (f originForm, ignored []string, err error) {
	b := m.Backends[name]
	without := func(key, why string) {
		ignored = append(ignored, fmt.Sprintf("%s: backend %q: %s: %s", m.At("backends", name, key), name, key, why))
	}
	f = originForm{
		Endpoints: []string{b.URL.Scheme + "://" + b.URL.Host}, Host: cmp.Or(b.OverrideHost, "keep"),
		TLS: map[string]string{}, Timeout: map[string]string{},
	}
	for key, value := range map[string]string{"ca": b.CAFile, "server_name": b.CertHost, "certificate": b.CertificateFile, "key": b.KeyFile} {
		if value != "" {
			f.TLS[key] = value
		}
	}
	if b.FirstByte > 0 {
		f.Timeout["first_byte"] = b.FirstByte.String()
	}
	if b.BetweenBytes > 0 {
		f.Timeout["idle"] = b.BetweenBytes.String()
	}
	if b.GRPC {
		f.Protocol = map[string]string{"http": "h2c", "https": "h2"}[b.URL.Scheme]
	}
	switch {
	case len(b.CA) > 0 && b.CAFile == "":
		return f, nil, fmt.Errorf("%s: backend %q: ca_certificate: put the certificates into one file and name it: {file = \"ca.pem\"}",
			m.At("backends", name, "ca_certificate"), name)
	case len(f.TLS) > 0 && b.URL.Scheme != "https":
		return f, nil, fmt.Errorf("%s: backend %q: certificates are for https, and its url begins with http", m.At("backends", name, "url"), name)
	}
	if p := b.URL.Path; p != "" && p != "/" {
		without("url", fmt.Sprintf("the path %s is not put before those of requests", p))
	}
	if b.SNI != nil && !*b.SNI && b.URL.Scheme == "https" {
		without("use_sni", "the name of the server is sent all the same")
	}
	if b.Health != fastly.HealthUnknown {
		without("health", "an origin is as well as its answers are")
	}
	return f, ignored, nil
}
