package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
)

const packedService = `service: shop
hosts: [shop.example]
origins:
  web: {endpoints: [http://10.0.0.1:8080]}
  static: {folder: public}
routes:
  - match: {path: /static/*}
    origin: static
  - match: {path: /*}
    origin: web
    headers: {request: {set: {X-Key: "${secret:shop-key} $${text}"}}}
    on_failure: [{default: {file: pages/sorry.html}}]
`

// writeFiles writes files below a new folder, and gives the folder.
func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, content := range files {
		at := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func packedFiles() map[string]string {
	return map[string]string{
		"shop.yaml":         packedService,
		"pages/sorry.html":  "<p>sorry",
		"public/index.html": "<p>welcome",
		"public/a/b.css":    "b{}",
		"public/copy.css":   "b{}",
		"public/.hidden":    "secret",
		"public/.git/HEAD":  "x",
	}
}

func pack(t testing.TB, folder string) *Bundle {
	t.Helper()
	b, err := Pack(filepath.Join(folder, "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// opener gives the blobs of a bundle.
func opener(b *Bundle) func(Digest) (io.ReadCloser, error) {
	return func(d Digest) (io.ReadCloser, error) {
		for _, blob := range b.Blobs {
			if blob.Digest == d {
				return blob.Open()
			}
		}
		return nil, fs.ErrNotExist
	}
}

func TestPackedServiceRunsElsewhereAsItWas(t *testing.T) {
	b := pack(t, writeFiles(t, packedFiles()))
	if got := len(b.Blobs); got != 3 { // two of the files hold the same, hidden ones stay
		t.Errorf("got %d blobs, want 3", got)
	}
	if got, want := string(b.Manifest.ID), fmt.Sprintf("%x", b.Manifest.Digest)[:16]; got != want {
		t.Errorf("revision %s, want %s", got, want)
	}
	folder := t.TempDir()
	secret := func(service selvage.ServiceName, name string) (string, error) {
		return "value of " + name + " of " + string(service), nil
	}
	for _, again := range []string{"first", "again"} { // the second time nothing is fetched
		open := opener(b)
		if again == "again" {
			open = func(Digest) (io.ReadCloser, error) { return nil, errors.New("it was fetched twice") }
		}
		s, err := Unpack(b.Data, Unpacking{Folder: folder, Open: open, Secret: secret})
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if got, want := s.Routes[1].Headers.Request.Set["X-Key"], "value of shop-key of shop ${text}"; got != want {
			t.Errorf("header %q, want %q", got, want)
		}
		d := s.Routes[1].OnFailure[0].Default
		if string(d.Content) != "<p>sorry" || filepath.Base(d.File) != "sorry.html" || !strings.HasPrefix(d.File, folder) {
			t.Errorf("default answer %q of %s", d.Content, d.File)
		}
		static := s.Origins["static"].Folder
		var got []string
		_ = filepath.WalkDir(static, func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := os.ReadFile(name)
			got = append(got, strings.TrimPrefix(name, static)+"="+string(data))
			return err
		})
		if diff := cmp.Diff([]string{"/a/b.css=b{}", "/copy.css=b{}", "/index.html=<p>welcome"}, got); diff != "" {
			t.Errorf("folder (-want +got):\n%s", diff)
		}
	}
	left, err := filepath.Glob(filepath.Join(folder, ".*"))
	if len(left) > 0 || err != nil {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestPackingIsTheSameEverywhere(t *testing.T) {
	files := packedFiles()
	first := pack(t, writeFiles(t, files))
	if again := pack(t, writeFiles(t, files)); !bytes.Equal(first.Data, again.Data) {
		t.Errorf("the same files in another folder:\n%s\n%s", first.Data, again.Data)
	}
	files["public/a/b.css"] = "b{color:red}"
	if other := pack(t, writeFiles(t, files)); other.Manifest.ID == first.Manifest.ID {
		t.Error("other files are the same revision")
	}
}

func TestPackRefusesWithAPlace(t *testing.T) {
	for _, tt := range []struct {
		name, old, new, want string
	}{
		{"an environment variable", "http://10.0.0.1:8080", "\"http://${env:HOST}\"", "shop.yaml:4:21: origin \"web\": endpoints[0]: ${env:HOST} is of this machine"},
		{"a file's content", "${secret:shop-key}", "${file:key}", "${file:key} is of this machine"},
		{"a secret that is no name", "${secret:shop-key}", "${secret:../key}", "stands for nothing"},
		{"a missing file", "sorry.html", "sory.html", "there is no such file"},
		{"a missing folder", "folder: public", "folder: pulbic", "there is no such file"},
		{"a hidden file", "pages/sorry.html", "pages/.sorry", "cannot be shipped"},
		{"a link in a folder", "folder: public", "folder: links", "link.html is a symbolic link"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := packedFiles()
			files["shop.yaml"] = strings.Replace(files["shop.yaml"], tt.old, tt.new, 1)
			files["pages/.sorry"], files["links/a"] = "x", "x"
			folder := writeFiles(t, files)
			if err := os.Symlink("/etc/passwd", filepath.Join(folder, "links", "link.html")); err != nil {
				t.Fatal(err)
			}
			_, err := Pack(filepath.Join(folder, "shop.yaml"))
			problems, ok := errors.AsType[selvage.Problems](err)
			if !ok || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if problems[0].Line == 0 {
				t.Errorf("%v has no place", problems[0])
			}
		})
	}
}

// forge packs a service, changes its manifest and gives it with the blobs.
func forge(t testing.TB, change func(form map[string]any)) ([]byte, *Bundle) {
	t.Helper()
	b := pack(t, writeFiles(t, packedFiles()))
	var form map[string]any
	if err := json.Unmarshal(b.Data, &form); err != nil {
		t.Fatal(err)
	}
	change(form)
	data, err := json.Marshal(form)
	if err != nil {
		t.Fatal(err)
	}
	return data, b
}

// putTree replaces the one folder of a manifest, with the digest that its list has.
func putTree(form map[string]any, files ...packedFile) {
	d := treeDigest(files).String()
	form["folders"] = map[string]any{d: files}
	form["service"].(map[string]any)["origins"].(map[string]any)["static"].(map[string]any)["folder"] = treePrefix + d
}

func firstFile(form map[string]any) (packedFile, map[string]any) {
	f := form["files"].([]any)[0].(map[string]any)
	var d hexDigest
	if err := d.UnmarshalText([]byte(f["digest"].(string))); err != nil {
		panic(err)
	}
	return packedFile{Digest: d, Size: int64(f["size"].(float64))}, f
}

func TestUnpackRefusesWhatLeadsElsewhere(t *testing.T) {
	at := func(path string) func(map[string]any) {
		return func(form map[string]any) {
			f, _ := firstFile(form)
			f.Path = path
			putTree(form, f)
		}
	}
	route := func(form map[string]any) map[string]any {
		return form["service"].(map[string]any)["routes"].([]any)[1].(map[string]any)
	}
	for _, tt := range []struct {
		name, want string
		change     func(form map[string]any)
	}{
		{"a path that goes up", "is not a path within a folder", at("../x")},
		{"a path that goes up inside", "is not a path within a folder", at("a/../../x")},
		{"an absolute path", "is not a path within a folder", at("/etc/cron.d/x")},
		{"an empty path", "is not a path within a folder", at("")},
		{"a hidden path", "is not a path within a folder", at("a/.ssh/x")},
		{"a backslash", "is not a path within a folder", at(`a\x`)},
		{"a long path", "is not a path within a folder", at(strings.Repeat("a/", 600) + "a")},
		{"a file as a folder", "lies in a file", func(form map[string]any) {
			a, _ := firstFile(form)
			b := a
			a.Path, b.Path = "a", "a/b"
			putTree(form, a, b)
		}},
		{"a path twice", "is not in its order", func(form map[string]any) {
			f, _ := firstFile(form)
			f.Path = "a"
			putTree(form, f, f)
		}},
		{"a path of the machine", "is not a folder of it", func(form map[string]any) {
			form["service"].(map[string]any)["origins"].(map[string]any)["static"].(map[string]any)["folder"] = "/etc"
		}},
		{"a file of the machine", "is not a file of it", func(form map[string]any) {
			route(form)["on_failure"] = []any{map[string]any{"default": map[string]any{"file": "/etc/passwd"}}}
		}},
		{"a name that goes up", "is not a file of it", func(form map[string]any) {
			f, _ := firstFile(form)
			route(form)["on_failure"] = []any{map[string]any{"default": map[string]any{"file": blobPrefix + f.Digest.String() + "/../x"}}}
		}},
		{"a file that is not listed", "is not a file of it", func(form map[string]any) {
			route(form)["on_failure"] = []any{map[string]any{"default": map[string]any{"file": blobPrefix + strings.Repeat("0", 64) + "/x"}}}
		}},
		{"a folder that is another", "has the digest", func(form map[string]any) {
			f, _ := firstFile(form)
			f.Path = "a"
			form["folders"] = map[string]any{strings.Repeat("0", 64): []packedFile{f}}
		}},
		{"a file of another size", "is not in the manifest", func(form map[string]any) {
			_, f := firstFile(form)
			f["size"] = 5
		}},
		{"a file that is too large", "the most is", func(form map[string]any) {
			_, f := firstFile(form)
			f["size"] = MaxFile + 1
		}},
		{"a size below nothing", "the most is", func(form map[string]any) {
			_, f := firstFile(form)
			f["size"] = -1
		}},
		{"an environment variable", "is of this machine", func(form map[string]any) { route(form)["name"] = "${env:HOME}" }},
		{"a later format", "knows format 1", func(form map[string]any) { form["format"] = 2 }},
		{"an unknown field", "unknown field", func(form map[string]any) { form["more"] = 1 }},
		{"an unknown key", `unknown key "morre"`, func(form map[string]any) { form["service"].(map[string]any)["morre"] = 1 }},
		{"a service that is wrong", `origin "wbe" is not defined`, func(form map[string]any) { route(form)["origin"] = "wbe" }},
		{"no service", "service: ", func(form map[string]any) { delete(form, "service") }},
		{"depth", "nested deeper", func(form map[string]any) {
			form["service"] = json.RawMessage(strings.Repeat("[", 100) + strings.Repeat("]", 100))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, b := forge(t, tt.change)
			outer := t.TempDir()
			folder := filepath.Join(outer, "in")
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			_, err := Unpack(data, Unpacking{Folder: folder, Open: opener(b)})
			if selvage.KindOf(err) != selvage.Invalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %s %v, want %q", selvage.KindOf(err), err, tt.want)
			}
			if left, _ := os.ReadDir(outer); len(left) != 1 {
				t.Errorf("outside the folder: %v", left)
			}
		})
	}
}

func TestUnpackRefusesOtherBytes(t *testing.T) {
	b := pack(t, writeFiles(t, packedFiles()))
	secret := func(selvage.ServiceName, string) (string, error) { return "x", nil }
	for name, content := range map[string]string{"shorter": "", "longer": strings.Repeat("x", 1000), "as long": "b[]"} {
		open := func(d Digest) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
		folder := t.TempDir()
		_, err := Unpack(b.Data, Unpacking{Folder: folder, Open: open, Secret: secret})
		if selvage.KindOf(err) != selvage.Invalid || !strings.Contains(err.Error(), "with the digest") {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := Unpack(b.Data, Unpacking{Folder: folder, Open: opener(b), Secret: secret}); err != nil {
			t.Errorf("%s: afterwards, with the right bytes: %v", name, err)
		}
	}
	unreachable := selvage.Errorf(selvage.Unavailable, "no store")
	open := func(Digest) (io.ReadCloser, error) { return nil, unreachable }
	if _, err := Unpack(b.Data, Unpacking{Folder: t.TempDir(), Open: open, Secret: secret}); !errors.Is(err, unreachable) {
		t.Errorf("a store that does not answer: got %v", err)
	}
}

func TestSecretsAreGrantedOrRefused(t *testing.T) {
	b := pack(t, writeFiles(t, packedFiles()))
	_, err := Unpack(b.Data, Unpacking{Folder: t.TempDir(), Open: opener(b)})
	if selvage.KindOf(err) != selvage.Invalid || !strings.Contains(err.Error(), "${secret:shop-key} is not granted to service shop") {
		t.Errorf("got %v", err)
	}
	if bytes.Contains(b.Data, []byte("secret-shop-key")) || !bytes.Contains(b.Data, []byte("${secret:shop-key} $${text}")) {
		t.Errorf("the manifest has not what was written: %s", b.Data)
	}
}

// TestEveryFieldWithAFileIsShipped fills each field of a service whose comment
// says that it is a file or a folder, and looks whether eachFile knows it.
func TestEveryFieldWithAFileIsShipped(t *testing.T) {
	s := selvage.Service{
		TLS:     selvage.ServiceTLS{Certificate: "f"},
		Origins: map[selvage.OriginName]selvage.Origin{"web": {Folder: "f", TLS: selvage.OriginTLS{CA: "f", Certificate: "f"}}},
		Functions: map[selvage.FunctionName]selvage.Function{"greet": {
			Module: "f", ACLs: map[string]selvage.ACL{"list": {File: "f"}},
			KVInitial: map[string]map[string]selvage.KVEntry{"kv": {"key": {File: "f"}}},
		}},
		Routes: []selvage.Route{{OnFailure: []selvage.Rung{{Default: &selvage.DefaultAnswer{File: "f"}}}}},
	}
	known := 0
	if err := eachFile(&s, func(*fileReference) error { known++; return nil }); err != nil {
		t.Fatal(err)
	}
	named := 0
	var walk func(reflect.Type, map[reflect.Type]bool)
	walk = func(typ reflect.Type, seen map[reflect.Type]bool) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for f := range typ.Fields() {
			names := []string{"file", "folder", "ca", "certificate", "chain", "key", "module"}
			isKey := (typ == reflect.TypeFor[selvage.OriginTLS]() || typ == reflect.TypeFor[selvage.ServiceTLS]()) && f.Name == "Key" // which is never shipped
			if f.Type.Kind() == reflect.String && !isKey && slices.Contains(names, f.Tag.Get("yaml")) {
				named++
			}
			walk(f.Type, seen)
		}
	}
	walk(reflect.TypeFor[selvage.Service](), map[reflect.Type]bool{})
	if known != named {
		t.Errorf("eachFile knows %d fields, %d are named as files are", known, named)
	}
}

func FuzzUnpack(f *testing.F) {
	b := pack(f, writeFiles(f, packedFiles()))
	f.Add(b.Data)
	f.Add([]byte(`{"format":1,"service":{}}`))
	f.Add([]byte(`{"format":1,"service":[[{"a":[1e99,"${secret:x}"]}]],"files":[{"digest":"","size":1}]}`))
	f.Add(bytes.Replace(b.Data, []byte("index.html"), []byte("../../x"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		folder := filepath.Join(outer, "in")
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := Unpack(data, Unpacking{Folder: folder, Open: opener(b)})
		if err == nil {
			if problems := s.Validate(); len(problems) > 0 {
				t.Fatalf("accepted: %v", problems)
			}
			_ = eachFile(&s, func(r *fileReference) error {
				if !strings.HasPrefix(*r.name, folder+"/") {
					t.Errorf("%s is %s", r.at, *r.name)
				}
				return nil
			})
		}
		if left, _ := os.ReadDir(outer); len(left) != 1 {
			t.Errorf("outside the folder: %v", left)
		}
	})
}
