package main

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage/config"
)

// manifestFolder is a folder of a program for Fastly Compute.
func manifestFolder(t *testing.T, local string) string {
	t.Helper()
	folder := t.TempDir()
	der, _, key := new(issuer).make(t, &x509.Certificate{Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)})
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"fastly.toml": "manifest_version = 3\nname = \"My Shop\"\n" + local, "bin/main.wasm": "\x00asm\x01\x00\x00\x00",
		"logo.bin": "\xff\xfe", "acl.json": `{"entries": [{"prefix": "192.0.2.0/24", "action": "BLOCK"}]}`,
		"cert.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"key.pem":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
	} {
		name = filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

const localServer = `[local_server.backends.api]
url = "https://api.example:8443/v1"
override_host = "api.internal"
cert_host = "cert.example"
use_sni = false
health = "healthy"
grpc = true
first_byte_timeout_ms = 1500
ca_certificate = {file = "cert.pem"}
client_certificate = {certificate_file = "cert.pem", key_file = "key.pem"}
[local_server.kv_stores]
kv = [{key = "k", data = "${not} a variable", metadata = "m"}, {key = "logo", file = "logo.bin"}]
[local_server.secret_stores]
keys = [{key = "token", env = "SELVAGE_TEST_TOKEN"}, {key = "plain", data = "p"}]
[local_server.acls]
blocked = "./acl.json"
[local_server.geolocation]
format = "inline-toml"
[local_server.geolocation.addresses."192.0.2.1"]
city = "Bern"
[local_server.device_detection]
format = "inline-toml"
[local_server.device_detection.user_agents."phone/1"]
device = {is_mobile = true}
[local_server.pushpin]
enable = true
[local_server.of_tomorrow.x]
y = 1
`

func TestAManifestBecomesAServiceAndWhatIsIgnoredIsTold(t *testing.T) {
	t.Setenv("SELVAGE_TEST_TOKEN", "s3cret")
	folder := manifestFolder(t, localServer)
	r, err := manifestService(filepath.Join(folder, "fastly.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s, ignored := r.service, r.ignored
	want := []string{
		`fastly.toml:27: local_server.pushpin: there is no fanout here`,
		`fastly.toml:29: local_server.of_tomorrow: it is not known here`,
		`fastly.toml:4: backend "api": url: the path /v1 is not put before those of requests`,
		`fastly.toml:7: backend "api": use_sni: the name of the server is sent all the same`,
		`fastly.toml:8: backend "api": health: an origin is as well as its answers are`,
	}
	if diff := cmp.Diff(want, ignored); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
	o, f := s.Origins["backend-1"], s.Functions["main"]
	if s.Service != "my-shop" || o.Host != "api.internal" || o.Protocol != "h2" || o.TLS.ServerName != "cert.example" ||
		o.TLS.CA != filepath.Join(folder, "cert.pem") || o.TLS.Key != filepath.Join(folder, "key.pem") || o.Timeout.FirstByte.Std() != 1500*time.Millisecond {
		t.Errorf("service %s, origin %+v", s.Service, o)
	}
	kv := f.KVInitial["kv"]
	text, logo := kv["k"], kv["logo"]
	if string(text.Value()) != "${not} a variable" || text.Metadata != "m" || string(logo.Value()) != "\xff\xfe" {
		t.Errorf("entries %+v", kv)
	}
	list := f.ACLs["blocked"]
	if entries, err := list.Entries(); err != nil || len(entries) != 1 {
		t.Errorf("list: %+v, %v", entries, err)
	}
	if !strings.Contains(f.Places["192.0.2.1"], `"city":"Bern"`) || f.Devices["phone/1"] != `{"device":{"is_mobile":true}}` {
		t.Errorf("places %v, devices %v", f.Places, f.Devices)
	}
	if f.Secrets["keys"]["token"] != "s3cret" || f.Secrets["keys"]["plain"] != "p" {
		t.Errorf("secrets %v", f.Secrets)
	}
	if packed, err := config.PackLocal(s, r.outside); err != nil || strings.Contains(string(packed), "s3cret") || !strings.Contains(string(packed), "${env:SELVAGE_TEST_TOKEN}") {
		t.Errorf("what is kept of it: %s, %v", packed, err)
	}
}

func TestWhatAManifestCannotHaveHereIsAMistakeWithItsPlace(t *testing.T) {
	for local, want := range map[string]string{
		"[local_server.backends.b]\nurl = \"https://x\"\nca_certificate = \"-----BEGIN\"":   "fastly.toml:5: backend \"b\": ca_certificate: put the certificates into one file",
		"[local_server.backends.b]\nurl = \"http://x\"\ncert_host = \"y\"":                  "fastly.toml:4: backend \"b\": certificates are for https",
		"[local_server.backends.b]\nurl = \"https://x\"\nclient_certificate = {key = \"\"}": "fastly.toml:3: backend \"b\": client_certificate: name its files",
		"[local_server.backends.b]\nurl = \"https://x\"\nhealth = \"ill\"":                  "fastly.toml:3: backend \"b\": health \"ill\" is neither",
		"[local_server.acls]\nlist = \"none.json\"":                                         "fastly.toml:4: access control list \"list\": read none.json",
	} {
		_, err := manifestService(filepath.Join(manifestFolder(t, local), "fastly.toml"))
		if err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q:\ngot  %v\nwant %s", local, err, want)
		}
	}
}

// What only run takes is told as that, and not as a service file with a mistake.
func TestAManifestIsNotTakenForAServiceFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fastly.toml")
	if err := os.WriteFile(file, []byte("manifest_version = 3\nname = \"shop\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []func() *cobra.Command{validateCommand, deployCommand, planCommand, configShowCommand} {
		cmd := command()
		cmd.SetArgs([]string{file})
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), `"selvage run" takes it as it is`) {
			t.Errorf("%s: %v", cmd.Name(), err)
		}
	}
}
