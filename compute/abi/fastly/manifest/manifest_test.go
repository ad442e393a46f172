package manifest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage/compute/abi/fastly"
)

const shop = `
manifest_version = 3
name = "shop"
language = "javascript"
[scripts]
build = "npm run build"

[local_server.backends.api]
url = "https://api.example:8443/v1"
override_host = "api.internal"
use_sni = true
health = "healthy"
[local_server.backends.web]
url = "http://127.0.0.1:8080"
ca_certificate = [{file = "ca.pem"}, "-----BEGIN"]

[local_server.dictionaries.old]
format = "inline-toml"
contents = {a = "1"}
[local_server.config_stores.conf]
format = "json"
file = "conf.json"

[local_server.kv_stores]
kv = [{key = "k", data = "v", metadata = "m"}, {key = "f", file = "conf.json"}]
more = {file = "conf.json", format = "json"}

[local_server.secret_stores]
secrets = [{key = "token", env = "SELVAGE_TEST_TOKEN"}]

[local_server.geolocation]
format = "inline-toml"
[local_server.geolocation.addresses."192.0.2.1"]
city = "Bern"
latitude = 46.9

[local_server.acls]
list = "acl.json"
[local_server.device_detection]
format = "inline-toml"
[local_server.device_detection.user_agents."phone/1"]
device = {is_mobile = true}
[local_server.shielding_sites]
"pdx-or-us" = "Local"
`

// folder is a folder with these files.
func folder(t testing.TB, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestAManifestIsReadWithItsFiles(t *testing.T) {
	t.Setenv("SELVAGE_TEST_TOKEN", "s3cret")
	m, err := Read(folder(t, map[string]string{
		"fastly.toml": shop, "conf.json": `{"greeting":"good day"}`, "ca.pem": "PEM",
		"acl.json": `{"entries":[{"op":"create","prefix":"192.0.2.0/24","action":"BLOCK"}]}`,
	}), "fastly.toml")
	if err != nil {
		t.Fatal(err)
	}
	var o fastly.Options
	if err := m.Fill(t.Context(), &o); err != nil {
		t.Fatal(err)
	}
	if m.Name != "shop" || m.Version != 3 || m.Build != "npm run build" || fmt.Sprint(m.Ignored) != "[{local_server.shielding_sites 43 there are no shields here}]" {
		t.Errorf("got %+v", m)
	}
	b, _ := o.Backends.Backend("api")
	if b.Host != "api.example" || b.Port != 8443 || !b.TLS || b.OverrideHost != "api.internal" || b.Health != fastly.Healthy {
		t.Errorf("api: %+v", b)
	}
	if b, _ = o.Backends.Backend("web"); b.Port != 8080 || b.TLS || string(m.Backends["web"].CA) != "PEM\n-----BEGIN\n\n" {
		t.Errorf("web: %+v, %q", b, m.Backends["web"].CA)
	}
	if _, ok := o.Backends.Backend("other"); ok {
		t.Error("a backend that nobody declared is there")
	}
	value := func(stores func(string) (fastly.Values, bool), name, key string) string {
		store, ok := stores(name)
		if !ok {
			t.Errorf("there is no store %s", name)
			return ""
		}
		v, _ := store.Value(key)
		return v
	}
	if got := value(o.Configs, "old", "a") + value(o.Configs, "conf", "greeting") + value(o.Secrets, "secrets", "token"); got != "1good days3cret" {
		t.Errorf("values: got %q", got)
	}
	for store, keys := range map[string]string{"kv": "f k", "more": "greeting"} {
		kv, _ := o.KV(store)
		page, err := kv.List(t.Context(), fastly.KVList{Limit: 10})
		if got := strings.Join(page.Keys, " "); got != keys || err != nil {
			t.Errorf("%s has %q, %v", store, got, err)
		}
	}
	if text, ok := o.Device("phone/1"); !ok || string(text) != `{"device":{"is_mobile":true}}` {
		t.Errorf("device: %s", text)
	}
	place, ok := o.Geo(netip.MustParseAddr("192.0.2.1"))
	if place.City != "Bern" || place.Latitude != 46.9 || !ok {
		t.Errorf("place: %+v", place)
	}
	list, _ := o.ACLs("list")
	if entry, ok := list.Match(netip.MustParseAddr("192.0.2.7")); !ok || entry.Action != "BLOCK" {
		t.Errorf("list: %+v", entry)
	}
}

// As Fastly's local server has it: a program that asks where its client is can be tried out.
func TestClientsOnThisMachineHaveAPlace(t *testing.T) {
	for text, want := range map[string]string{
		"": "San Francisco", "[local_server.geolocation]\nuse_default_loopback = false": "",
		"[local_server.geolocation]\nformat = \"inline-toml\"\naddresses.\"127.0.0.1\" = {city = \"Bern\"}": "Bern",
	} {
		m, err := Read(folder(t, map[string]string{"fastly.toml": text}), "fastly.toml")
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Places[netip.MustParseAddr("127.0.0.1")].City; got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestMistakesInAManifestAreTold(t *testing.T) {
	for text, want := range map[string]string{
		"manifest_version = 4":    "manifest_version 4 is not known",
		"manifest_version = 3\n[": "fastly.toml:2:",
		"manifest_version = 3\n[local_server.backends.b]\nurl = \"/x\"":                                              `backend "b": url "/x" is no URL of a server`,
		"manifest_version = 3\n[local_server.config_stores.c]\nformat = \"json\"\nfile = \"none.json\"":              "no such file",
		"manifest_version = 3\n[local_server.config_stores.c]\nformat = \"json\"\nfile = \"../../../../etc/passwd\"": "escapes",
		"manifest_version = 3\n[local_server.config_stores.c]\nformat = \"xml\"":                                     `format "xml" is neither`,
		"manifest_version = 3\n[local_server]\nsecret_stores.s = [{key = \"k\", env = \"SELVAGE_NOT_SET\"}]":         "the environment has no SELVAGE_NOT_SET",
		"manifest_version = 3\n[local_server]\nkv_stores.s = [{data = \"k\"}]":                                       "its key is missing",
		"[local_server]\nkv_stores.s = [{key = 3, data = \"v\"}]":                                                    "its key is no text",
		"[local_server]\nkv_stores.s = [{key = \"k\", data = 3}]":                                                    "its data is no text",
		"[local_server]\nkv_stores.s = [{key = \"k\", data = \"v\", metadata = 5}]":                                  "its metadata is no text",
		"[local_server]\nkv_stores.s = [{key = \"k\", data = \"v\", file = \"fastly.toml\"}]":                        `"k" has 2 of data, file and env`,
		"[local_server]\nkv_stores.s = [{key = \"k\"}]":                                                              `"k" has 0 of data, file and env`,
		"[local_server]\nkv_stores.s = [{key = \"a#b\", data = \"v\"}]":                                              `"a#b" is no key: a key has 1 to 1024 bytes`,
		"[local_server]\nkv_stores.s = [\"text\"]":                                                                   "entry 1 is no table",
		"[local_server]\nkv_stores.s = \"text\"":                                                                     "a store is a list of entries",
		"[local_server]\nkv_stores.s = {file = \"fastly.toml\", format = \"xml\"}":                                   "format xml is not json",
		"[local_server]\nkv_stores.s = {format = \"json\"}":                                                          "the name of its file is missing",
	} {
		_, err := Read(folder(t, map[string]string{"fastly.toml": text}), "fastly.toml")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// pack makes a package of names and texts.
func pack(t testing.TB, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAPackageHasAProgram(t *testing.T) {
	p, err := Unpack(bytes.NewReader(pack(t, "shop/fastly.toml", "name = 1", "shop/README", "x", "shop/bin/main.wasm", "\x00asm", "shop/src/bin/main.wasm", "no")), 0)
	if err != nil || string(p.Module) != "\x00asm" || string(p.Manifest) != "name = 1" {
		t.Errorf("got %+v, %v", p, err)
	}
	for _, c := range []struct {
		data []byte
		want string
	}{
		{[]byte("no package"), "open package"},
		{pack(t, "shop/main.wasm", "x"), "no bin/main.wasm"},
		{pack(t, "shop/bin/main.wasm", strings.Repeat("x", 1001)), "1001 bytes, 1000 are allowed"},
		{pack(t, "shop/big", strings.Repeat("\x00", maxBeside+2000), "shop/bin/main.wasm", "x"), "unpacks to more than"},
		{pack(t, "shop/bin/main.wasm", "x")[:40], "open package"},
	} {
		if _, err := Unpack(bytes.NewReader(c.data), 1000); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack(f, "shop/bin/main.wasm", "\x00asm", "shop/fastly.toml", "x"))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Unpack(bytes.NewReader(data), 1000)
		if (p == nil) == (err == nil) || p != nil && len(p.Module) > 1000 {
			t.Errorf("got %v, %v", p, err)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add(shop)
	f.Add("manifest_version = 3\n[local_server]\nkv_stores.s = 3\nacls.a = {}")
	root := folder(f, map[string]string{"conf.json": "{}"})
	f.Fuzz(func(t *testing.T, text string) {
		if err := root.WriteFile("fastly.toml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := Read(root, "fastly.toml")
		if (m == nil) == (err == nil) {
			t.Errorf("got %v, %v", m, err)
		}
		if m != nil {
			var o fastly.Options
			_ = m.Fill(t.Context(), &o) // what a store refuses is an error, and no panic
		}
	})
}
