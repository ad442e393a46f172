package config

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/selvage-edge/selvage"
)

// What a revision may be. Beyond one of these it is refused where it is packed
// and again where it is unpacked.
const (
	MaxManifest   = 4 << 20   // bytes of a manifest
	MaxFiles      = 10_000    // files of a revision
	MaxFile       = 256 << 20 // bytes of one of them
	MaxBundle     = 512 << 20 // bytes of all of them
	maxPathLength = 1024      // bytes of the path of a file within a folder
)

// Digest is a SHA-256.
type Digest = [sha256.Size]byte

// Manifest is what a revision says of itself: the service, whose files are named
// by what is in them, and the list of these.
type Manifest struct {
	ID      selvage.RevisionID // the first 16 hexadecimal digits of the manifest's SHA-256
	Digest  Digest             // that SHA-256
	Service selvage.Service    // its files are names of blobs, its secrets are not known
	Files   []File             // each once, in the order of their digests
	folders map[string][]packedFile
	values  map[string]string // ${secret:NAME} as it is written, by path
	form    manifestForm
}

// File is a blob that a revision needs.
type File struct {
	Digest Digest
	Size   int64 // bytes
}

// Written is the service as it is shown.
func (m *Manifest) Written() Written { return Written{m.Service, m.values} }

// Bytes is how much the files take together.
func (m *Manifest) Bytes() int64 {
	var sum int64
	for _, f := range m.Files {
		sum += f.Size
	}
	return sum
}

// manifestForm is a manifest as it is written.
type manifestForm struct {
	Format  int                        `json:"format"`
	Service json.RawMessage            `json:"service"`
	Folders map[hexDigest][]packedFile `json:"folders,omitempty"`
	Files   []packedFile               `json:"files,omitempty"` // without paths
}

type packedFile struct {
	Path   string    `json:"path,omitempty"` // within its folder, with slashes
	Digest hexDigest `json:"digest"`
	Size   int64     `json:"size"`
}

// manifestFormat is the one format that there is.
const manifestFormat = 1

// What goes before a digest where a service names a file or a folder. Neither
// can be taken for a path of a machine, since unpacking accepts nothing else.
const (
	blobPrefix = "blob:" // blob:DIGEST/NAME
	treePrefix = "tree:" // tree:DIGEST, of the list of its files
)

// hexDigest is a digest as 64 lower-case hexadecimal digits.
type hexDigest Digest

// MarshalText is encoding.TextMarshaler.
func (d hexDigest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is encoding.TextUnmarshaler.
func (d *hexDigest) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(d) || hex.EncodeToString(raw) != string(text) {
		return fmt.Errorf("%.80q is not a SHA-256 in lower-case hexadecimal digits", text)
	}
	copy(d[:], raw)
	return nil
}

func (d hexDigest) String() string { return hex.EncodeToString(d[:]) }

// ReadManifest reads and checks a manifest, without its files and its secrets.
// The error is Invalid.
func ReadManifest(data []byte) (*Manifest, error) {
	m, doc, err := readForm(data, nil)
	if err != nil {
		return nil, err
	}
	if !doc.decode(reflect.ValueOf(&m.Service).Elem(), nil) {
		return nil, invalid(doc.finish())
	}
	m.values = doc.values()
	doc.secrets()
	doc.keys(&m.Service)
	doc.found(m.Service.Validate())
	if err := eachFile(&m.Service, func(r *fileReference) error { return m.check(r) }); err != nil {
		return nil, err
	}
	if problems := doc.finish(); len(problems) > 0 {
		return nil, invalid(problems)
	}
	return m, nil
}

func invalid(err error) error { return selvage.Errorf(selvage.Invalid, "manifest: %w", err) }

// readForm reads what a manifest is written as. secret gives what ${secret:NAME}
// stands for; without it a placeholder does.
func readForm(data []byte, secret func(string) (string, error)) (*Manifest, *document, error) {
	if len(data) > MaxManifest {
		return nil, nil, invalid(fmt.Errorf("it has %d bytes, the most is %d", len(data), MaxManifest))
	}
	m := &Manifest{Digest: sha256.Sum256(data), folders: map[string][]packedFile{}}
	m.ID = selvage.RevisionID(hex.EncodeToString(m.Digest[:8]))
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m.form); err != nil {
		return nil, nil, invalid(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, invalid(errors.New("something follows it"))
	}
	if m.form.Format != manifestFormat {
		return nil, nil, invalid(fmt.Errorf("format %d: this version knows format %d", m.form.Format, manifestFormat))
	}
	if err := m.readFiles(); err != nil {
		return nil, nil, invalid(err)
	}
	t, err := jsonTree(m.form.Service)
	if err != nil {
		return nil, nil, invalid(fmt.Errorf("service: %w", err))
	}
	x := &expander{deployed: true, secret: secret}
	src := &source{name: "manifest"}
	return m, &document{name: "manifest", src: src, tree: t, dec: newDecoder(src, x), expand: x}, nil
}

// readFiles checks the list of files and the folders that are made of them.
func (m *Manifest) readFiles() error {
	if len(m.form.Files) > MaxFiles {
		return fmt.Errorf("%d files, the most is %d", len(m.form.Files), MaxFiles)
	}
	sizes := make(map[hexDigest]int64, len(m.form.Files))
	var sum int64
	for i, f := range m.form.Files {
		switch {
		case f.Path != "":
			return fmt.Errorf("file %s has a path", f.Digest)
		case i > 0 && bytes.Compare(m.form.Files[i-1].Digest[:], f.Digest[:]) >= 0:
			return fmt.Errorf("file %s is not in its order", f.Digest)
		case f.Size < 0 || f.Size > MaxFile:
			return fmt.Errorf("file %s has %d bytes, the most is %d", f.Digest, f.Size, MaxFile)
		}
		if sum += f.Size; sum > MaxBundle {
			return fmt.Errorf("the files have more than %d bytes together", MaxBundle)
		}
		sizes[f.Digest] = f.Size
		m.Files = append(m.Files, File{Digest(f.Digest), f.Size})
	}
	entries := 0
	for digest, files := range m.form.Folders {
		if entries += len(files); entries > MaxFiles {
			return fmt.Errorf("folders with more than %d files", MaxFiles)
		}
		if got := treeDigest(files); got != digest {
			return fmt.Errorf("folder %s has the digest %s", digest, got)
		}
		if err := checkTree(files, sizes); err != nil {
			return fmt.Errorf("folder %s: %w", digest, err)
		}
		m.folders[digest.String()] = files
	}
	return nil
}

// treeDigest is the digest of the list of a folder's files.
func treeDigest(files []packedFile) hexDigest {
	data, err := json.Marshal(files)
	if err != nil {
		panic(err) // lists of text and numbers always have a form
	}
	return sha256.Sum256(data)
}

// checkTree refuses paths that lead out of their folder or that a file system
// could confuse, and files that are not in the manifest's list.
func checkTree(files []packedFile, sizes map[hexDigest]int64) error {
	seen := make(map[string]bool, len(files))
	for i, f := range files {
		size, known := sizes[f.Digest]
		switch {
		case !goodPath(f.Path):
			return fmt.Errorf("%.80q is not a path within a folder", f.Path)
		case i > 0 && files[i-1].Path >= f.Path:
			return fmt.Errorf("%.80q is not in its order", f.Path)
		case !known || size != f.Size:
			return fmt.Errorf("%.80q: file %s with %d bytes is not in the manifest", f.Path, f.Digest, f.Size)
		}
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if seen[dir] {
				return fmt.Errorf("%.80q lies in a file", f.Path)
			}
		}
		seen[f.Path] = true
	}
	return nil
}

// goodPath says that every machine takes a path for the same file below a folder.
func goodPath(p string) bool {
	if !fs.ValidPath(p) || p == "." || len(p) > maxPathLength {
		return false
	}
	for name := range strings.SplitSeq(p, "/") {
		if !goodName(name) {
			return false
		}
	}
	return true
}

// goodName says that a name is one of a file that is shipped: not hidden, and
// without what some file system takes for a separator or an end.
func goodName(name string) bool {
	return name != "" && name[0] != '.' && len(name) <= 255 && !strings.ContainsAny(name, "/\\\x00")
}

// fileReference is a place in a service that names a file or a folder.
type fileReference struct {
	at     string // routes[2].on_failure[0].default.file
	name   *string
	folder bool
}

// eachFile calls do for every file and folder that a service names. What do
// writes to the name is the service's. A new field that names a file must be
// here, or it is neither shipped nor refused.
func eachFile(s *selvage.Service, do func(*fileReference) error) error {
	refs := []*fileReference{{"certificate.chain", &s.TLS.Certificate, false}} // keys are never shipped
	origins := make(map[selvage.OriginName]*selvage.Origin, len(s.Origins))
	for name, o := range s.Origins {
		origins[name] = &o
		at := "origins." + string(name)
		refs = append(refs, &fileReference{at + ".folder", &o.Folder, true}, &fileReference{at + ".tls.ca", &o.TLS.CA, false},
			&fileReference{at + ".tls.certificate", &o.TLS.Certificate, false})
	}
	functions := make(map[selvage.FunctionName]*selvage.Function, len(s.Functions))
	for name, f := range s.Functions {
		functions[name] = &f
		at := "functions." + string(name)
		refs = append(refs, &fileReference{at + ".module", &f.Module, false})
		if f.Default != nil {
			refs = append(refs, &fileReference{at + ".default.file", &f.Default.File, false})
		}
	}
	data := functionFiles(functions)
	refs = append(refs, data.refs...)
	for i := range s.Routes {
		for j := range s.Routes[i].OnFailure {
			if d := s.Routes[i].OnFailure[j].Default; d != nil {
				refs = append(refs, &fileReference{fmt.Sprintf("routes[%d].on_failure[%d].default.file", i, j), &d.File, false})
			}
		}
	}
	slices.SortFunc(refs, func(a, b *fileReference) int { return cmp.Compare(a.at, b.at) })
	for _, r := range refs {
		if *r.name == "" {
			continue
		}
		if err := do(r); err != nil {
			return err
		}
	}
	for name, o := range origins {
		s.Origins[name] = *o
	}
	data.put()
	for name, f := range functions {
		s.Functions[name] = *f
	}
	return nil
}

// dataFiles are the references of functions to files of entries and lists, which
// are in maps: put puts them back there.
type dataFiles struct {
	refs []*fileReference
	puts []func()
}

func (d *dataFiles) put() {
	for _, put := range d.puts {
		put()
	}
}

func functionFiles(functions map[selvage.FunctionName]*selvage.Function) (d dataFiles) {
	for name, f := range functions {
		at := "functions." + string(name)
		f.KVInitial = maps.Clone(f.KVInitial)
		for store, entries := range f.KVInitial {
			entries = maps.Clone(entries)
			f.KVInitial[store] = entries
			for key, e := range entries {
				d.refs = append(d.refs, &fileReference{at + ".kv_initial." + store + "." + key + ".file", &e.File, false})
				d.puts = append(d.puts, func() { entries[key] = e })
			}
		}
		f.ACLs = maps.Clone(f.ACLs)
		for list, l := range f.ACLs {
			d.refs = append(d.refs, &fileReference{at + ".acls." + list + ".file", &l.File, false})
			d.puts = append(d.puts, func() { f.ACLs[list] = l })
		}
	}
	return d
}

// check says whether a reference is to a blob or a folder of the manifest.
func (m *Manifest) check(r *fileReference) error {
	if r.folder {
		digest, ok := strings.CutPrefix(*r.name, treePrefix)
		if _, known := m.folders[digest]; !ok || !known {
			return invalid(fmt.Errorf("%s: %.80q is not a folder of it", r.at, *r.name))
		}
		return nil
	}
	if _, _, err := m.blob(*r.name); err != nil {
		return invalid(fmt.Errorf("%s: %w", r.at, err))
	}
	return nil
}

// blob reads blob:DIGEST/NAME.
func (m *Manifest) blob(ref string) (f File, name string, err error) {
	rest, ok := strings.CutPrefix(ref, blobPrefix)
	digest, name, _ := strings.Cut(rest, "/")
	var d hexDigest
	if !ok || d.UnmarshalText([]byte(digest)) != nil || !goodName(name) {
		return File{}, "", fmt.Errorf("%.80q is not a file of it", ref)
	}
	i, found := slices.BinarySearchFunc(m.Files, d, func(f File, d hexDigest) int { return bytes.Compare(f.Digest[:], d[:]) })
	if !found {
		return File{}, "", fmt.Errorf("%.80q is not a file of it", ref)
	}
	return m.Files[i], name, nil
}

// jsonTree makes a tree of JSON. Numbers keep the digits they are written with.
func jsonTree(data []byte) (*tree, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return jsonValue(dec, 0)
}

func jsonValue(dec *json.Decoder, depth int) (*tree, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	}
	tk, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := tk.(type) {
	case json.Number:
		return &tree{form: number, text: v.String()}, nil
	case string:
		return &tree{form: text, text: v}, nil
	case bool:
		return &tree{form: boolean, text: fmt.Sprint(v)}, nil
	case json.Delim:
		t := &tree{form: map[json.Delim]form{'{': object, '[': list}[v]}
		for dec.More() {
			if err := t.grow(dec, depth); err != nil {
				return nil, err
			}
		}
		_, err := dec.Token()
		return t, err
	}
	return &tree{form: empty}, nil
}

// grow reads one more part of a list or an object.
func (t *tree) grow(dec *json.Decoder, depth int) error {
	key := ""
	if t.form == object {
		tk, err := dec.Token()
		if err != nil {
			return err
		}
		key, _ = tk.(string)
	}
	value, err := jsonValue(dec, depth+1)
	if err != nil {
		return err
	}
	if t.form == object {
		t.entries = append(t.entries, entry{key: key, value: value})
	} else {
		t.items = append(t.items, value)
	}
	return nil
}
