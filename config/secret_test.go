package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
)

func TestSecretIsForTheServicesItIsGrantedTo(t *testing.T) {
	t.Setenv("SELVAGE_TEST_SECRET", "from the environment")
	folder := writeFiles(t, map[string]string{"key": "from a file\r\n", "node.yaml": `secrets:
  shop-key: {file: key, services: [shop]}
  other: {env: SELVAGE_TEST_SECRET, services: [shop, search]}
`})
	n, err := LoadNode(filepath.Join(folder, "node.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		service selvage.ServiceName
		name    string
		want    string
		err     string
	}{
		{"shop", "shop-key", "from a file", ""},
		{"shop", "other", "from the environment", ""},
		{"search", "other", "from the environment", ""},
		{"search", "shop-key", "", "${secret:shop-key} is not granted to service search on this node"},
		{"shop", "unknown", "", "${secret:unknown} is not granted to service shop on this node"},
	} {
		got, err := ReadSecret(n.Secrets, tt.service, tt.name)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s of %s: got %q, %v", tt.name, tt.service, got, err)
		}
	}
	shown := string(ShowNode(n))
	if strings.Contains(shown, "from a") || strings.Contains(shown, "from the") || !strings.Contains(shown, "SELVAGE_TEST_SECRET") {
		t.Errorf("shown as\n%s", shown)
	}
	if err := os.Remove(filepath.Join(folder, "key")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecret(n.Secrets, "shop", "shop-key"); err == nil || !strings.Contains(err.Error(), "there is no such file") {
		t.Errorf("without its file: %v", err)
	}
}

func TestMistakesInSecretsAreReported(t *testing.T) {
	folder := writeFiles(t, map[string]string{"empty": "\n", "bytes": "\xff"})
	for text, want := range map[string]string{
		`{UPPER: {env: HOME, services: [shop]}}`:                 "secret \"UPPER\" is not a name",
		`{a: {services: [shop]}}`:                                "needs one place where it is",
		`{a: {env: HOME, file: empty, services: [shop]}}`:        "needs one place where it is",
		`{a: {env: HOME}}`:                                       "services",
		`{a: {env: HOME, services: [shop, shop]}}`:               "stands here twice",
		`{a: {env: HOME, services: [Shop]}}`:                     "service \"Shop\" is not a name",
		`{a: {env: SELVAGE_TEST_UNSET_VALUE, services: [shop]}}`: "the environment variable \"SELVAGE_TEST_UNSET_VALUE\" is not set",
		`{a: {file: nowhere, services: [shop]}}`:                 "there is no such file",
		`{a: {file: empty, services: [shop]}}`:                   "it is empty",
		`{a: {file: bytes, services: [shop]}}`:                   "it is not UTF-8",
		`{a: {file: empty, service: [shop]}}`:                    "did you mean \"services\"?",
	} {
		_, err := ParseNode(filepath.Join(folder, "node.yaml"), []byte("secrets: "+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestSecretsStandOnlyWhereNobodySeesThem(t *testing.T) {
	folder := writeFiles(t, map[string]string{"shop.yaml": `service: shop
hosts: [shop.example]
origins: {web: {endpoints: ["http://${secret:host}:8080"]}}
routes:
  - match: {path: "/${secret:path}"}
    origin: web
    headers: {request: {set: {X-Key: "${secret:key}"}, add: {X-More: "a ${secret:key}"}}}
    access: {basic_auth: {users: {ann: "${secret:ann}"}}}
  - {match: {path: /f}, function: f}
functions:
  f: {module: f.wasm, secrets: {keys: {api: "${secret:key}"}}, env: {TOKEN: "${secret:key}"}, config: {keys: {api: "${secret:key}"}}}
`, "f.wasm": "\x00asm\x01\x00\x00\x00"})
	_, err := Pack(filepath.Join(folder, "shop.yaml"))
	if err == nil {
		t.Fatal("it was packed")
	}
	for _, want := range []string{"shop.yaml:3:", "origins.web.endpoints[0]: a secret cannot stand here", "routes[0].match.path: a secret cannot stand here", "functions.f.config.keys.api: a secret cannot stand here"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "a secret cannot stand here"); n != 3 {
		t.Errorf("%d mistakes, want 3: %v", n, err)
	}
}

func TestAPrivateKeyIsNeverShipped(t *testing.T) {
	service := func(key string) string {
		return `service: shop
hosts: [shop.example]
origins: {web: {endpoints: [https://a.example], tls: {certificate: cert.pem, key: "` + key + `"}}}
certificate: {chain: cert.pem, key: "` + key + `"}
routes: [{match: {path: /*}, origin: web}]
`
	}
	folder := writeFiles(t, map[string]string{"plain.yaml": service("key.pem"), "shop.yaml": service("${secret:tls-key}")})
	certificate(t, folder)
	_, err := Pack(filepath.Join(folder, "plain.yaml"))
	if err == nil || !strings.Contains(err.Error(), "plain.yaml:3:") || !strings.Contains(err.Error(), "plain.yaml:4:") || strings.Count(err.Error(), "a private key is not shipped") != 2 {
		t.Errorf("a key's file: %v", err)
	}
	b := pack(t, folder)
	if len(b.Blobs) != 1 || strings.Contains(string(b.Data), "PRIVATE") {
		t.Fatalf("%d files are shipped, want the certificate alone: %s", len(b.Blobs), b.Data)
	}
	key, err := os.ReadFile(filepath.Join(folder, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	certificate(t, elsewhere)
	other, err := os.ReadFile(filepath.Join(elsewhere, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{string(key): "", string(other): "certificate and key", "/etc/ssl/key.pem": "is not a private key"} {
		s, err := Unpack(b.Data, Unpacking{
			Folder: t.TempDir(), Open: opener(b),
			Secret: func(selvage.ServiceName, string) (string, error) { return value, nil },
		})
		switch {
		case want == "" && (err != nil || s.Origins["web"].TLS.Key != value || s.TLS.Key != value):
			t.Errorf("with its key: %v", err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), value)):
			t.Errorf("with another secret: %v, want %q without the value", err, want)
		}
	}
	forged := strings.Replace(string(b.Data), "${secret:tls-key}", "/etc/ssl/private/key.pem", 1)
	if _, err := ReadManifest([]byte(forged)); selvage.KindOf(err) != selvage.Invalid {
		t.Errorf("a manifest that names a machine's key: %v", err)
	}
}
