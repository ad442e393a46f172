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
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/selvage-edge/selvage"
)

// Bundle is a service that is ready to be sent: its manifest, and the files of
// this machine that it needs.
type Bundle struct {
	Manifest Manifest
	Data     []byte // the manifest as it is sent
	Blobs    []Blob // in the order of the manifest's files
}

// Blob is a file of a bundle.
type Blob struct {
	File
	path string
}

// Name is where the blob is on this machine.
func (b Blob) Name() string { return b.path }

// Open reads the blob. What it holds may have changed since it was packed: who
// takes it compares the digest.
func (b Blob) Open() (io.ReadCloser, error) { return os.Open(b.path) }

// Pack reads a service file and everything it names. The same file with the
// same files gives the same bytes on every machine. Mistakes are
// [selvage.Problems] with their places; ${env:NAME} and ${file:PATH} are among
// them, since the machines where it will run have others.
func Pack(file string) (*Bundle, error) {
	doc := open(file)
	doc.expand.deployed = true
	p := newPacker(doc)
	var s selvage.Service
	if doc.decode(reflect.ValueOf(&s).Elem(), nodeKeys) {
		doc.secrets()
		doc.keys(&s)
		doc.found(s.Validate())
		doc.found(doc.serviceFiles(&s)) // it makes their names absolute
		if len(doc.problems) == 0 {
			p.pack(&s)
		}
	}
	if problems := doc.finish(); len(problems) > 0 {
		return nil, problems
	}
	return p.bundle(s)
}

// packer gathers the files of a service.
type packer struct {
	doc     *document
	sizes   map[hexDigest]int64
	paths   map[hexDigest]string
	folders map[hexDigest][]packedFile
	files   int
	sum     int64
}

func newPacker(doc *document) *packer {
	return &packer{doc: doc, sizes: map[hexDigest]int64{}, paths: map[hexDigest]string{}, folders: map[hexDigest][]packedFile{}}
}

// pack puts names of blobs where the service names files of this machine.
func (p *packer) pack(s *selvage.Service) {
	_ = eachFile(s, func(r *fileReference) error { // all mistakes are noted, none ends it
		take := p.file
		if r.folder {
			take = p.folder
		}
		name, err := take(*r.name)
		if err != nil {
			p.doc.found(selvage.Problems{{Path: r.at, Message: fmt.Sprintf("%s: %v", r.at, err)}})
			return nil
		}
		*r.name = name
		return nil
	})
}

func (p *packer) file(name string) (string, error) {
	base := filepath.Base(name)
	if !goodName(base) {
		return "", fmt.Errorf("file %q cannot be shipped under its name: give it one without a leading dot and a backslash", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("file %q: %w", name, plainError(err))
	}
	defer f.Close()
	d, _, err := p.add(f, name)
	if err != nil {
		return "", fmt.Errorf("file %q: %w", name, err)
	}
	return blobPrefix + d.String() + "/" + base, nil
}

// folder takes every file below a folder but the hidden ones, which are not served.
func (p *packer) folder(name string) (string, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return "", fmt.Errorf("folder %q: %w", name, plainError(err))
	}
	defer func() { _ = root.Close() }() // it was only read
	files := []packedFile{}
	err = fs.WalkDir(root.FS(), ".", func(at string, entry fs.DirEntry, err error) error {
		switch base := entry.Name(); {
		case err != nil:
			return err
		case at != "." && base[0] == '.' && entry.IsDir():
			return fs.SkipDir
		case entry.IsDir() || base[0] == '.':
			return nil
		case entry.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s is a symbolic link: put the file itself there", at)
		case !entry.Type().IsRegular():
			return fmt.Errorf("%s is not a regular file", at)
		case !goodPath(at):
			return fmt.Errorf("%q cannot be shipped: its name is too long or has a backslash", at)
		}
		one, err := p.below(root, at)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		files = append(files, one)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("folder %q: %w", name, err)
	}
	slices.SortFunc(files, func(a, b packedFile) int { return cmp.Compare(a.Path, b.Path) })
	d := treeDigest(files)
	p.folders[d] = files
	return treePrefix + d.String(), nil
}

// below takes a file of a folder.
func (p *packer) below(root *os.Root, at string) (packedFile, error) {
	f, err := root.Open(at)
	if err != nil {
		return packedFile{}, plainError(err)
	}
	defer f.Close()
	d, size, err := p.add(f, filepath.Join(root.Name(), filepath.FromSlash(at)))
	return packedFile{at, d, size}, err
}

// add takes a file. It is read once here, for its digest, and once more when it is sent.
func (p *packer) add(f *os.File, name string) (hexDigest, int64, error) {
	if p.files++; p.files > MaxFiles {
		return hexDigest{}, 0, fmt.Errorf("a revision has %d files at the most", MaxFiles)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, MaxFile+1))
	if err != nil {
		return hexDigest{}, 0, plainError(err)
	}
	if n > MaxFile {
		return hexDigest{}, 0, fmt.Errorf("it has more than %s", selvage.ByteSize(MaxFile))
	}
	d := hexDigest(sum.Sum(nil))
	if _, known := p.sizes[d]; !known {
		if p.sum += n; p.sum > MaxBundle {
			return hexDigest{}, 0, fmt.Errorf("the files of a revision have %s at the most", selvage.ByteSize(MaxBundle))
		}
		p.sizes[d], p.paths[d] = n, name
	}
	return d, n, nil
}

// bundle writes the manifest and reads it again: what a node would refuse is
// known here.
func (p *packer) bundle(s selvage.Service) (*Bundle, error) {
	e := emitter{outside: p.doc.outside(), escape: true}
	var service bytes.Buffer
	writeJSON(&service, e.tree(reflect.ValueOf(s), "", nil))
	form := manifestForm{Format: manifestFormat, Service: service.Bytes(), Folders: p.folders}
	var blobs []Blob
	for d, size := range p.sizes {
		form.Files = append(form.Files, packedFile{Digest: d, Size: size})
		blobs = append(blobs, Blob{File{Digest(d), size}, p.paths[d]})
	}
	slices.SortFunc(form.Files, func(a, b packedFile) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	slices.SortFunc(blobs, func(a, b Blob) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	data, err := json.Marshal(form)
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	m, err := ReadManifest(data)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", p.doc.name, err)
	}
	return &Bundle{Manifest: *m, Data: data, Blobs: blobs}, nil
}

// Unpacking is what [Unpack] needs of a machine.
type Unpacking struct {
	// Folder is where the files go, each in a folder that is named by its digest.
	// What is there already is not fetched again. It must exist.
	Folder string
	// Open reads a blob.
	Open func(Digest) (io.ReadCloser, error)
	// Secret is what ${secret:NAME} stands for in a service. nil: nobody was granted one.
	Secret func(service selvage.ServiceName, name string) (string, error)
}

// Unpack makes the service of a manifest and puts its files on this machine.
// Whatever the manifest says, nothing outside the folder is written or named.
// What is wrong with it is an Invalid error; what Open gives is passed on.
func Unpack(manifest []byte, u Unpacking) (selvage.Service, error) {
	m, err := ReadManifest(manifest) // all but the secrets
	if err != nil {
		return selvage.Service{}, err
	}
	secret := func(name string) (string, error) {
		if u.Secret == nil {
			return ReadSecret(nil, m.Service.Service, name)
		}
		return u.Secret(m.Service.Service, name)
	}
	m, doc, err := readForm(manifest, secret)
	if err != nil {
		return selvage.Service{}, err
	}
	if !doc.decode(reflect.ValueOf(&m.Service).Elem(), nil) {
		return selvage.Service{}, invalid(doc.finish())
	}
	if err := u.files(m); err != nil {
		return selvage.Service{}, err
	}
	doc.found(m.Service.Validate())
	doc.found(doc.serviceFiles(&m.Service))
	if problems := doc.finish(); len(problems) > 0 {
		return selvage.Service{}, invalid(problems)
	}
	return m.Service, nil
}

// unpacking is held while files are put in their places: one that is not whole
// yet has one name, so that a process that was killed leaves nothing that stays.
var unpacking sync.Mutex

// files puts every file in its place and its name into the service.
func (u Unpacking) files(m *Manifest) error {
	unpacking.Lock()
	defer unpacking.Unlock()
	root, err := os.OpenRoot(u.Folder)
	if err != nil {
		return fmt.Errorf("unpack revision %s: %w", m.ID, err)
	}
	defer func() { _ = root.Close() }() // the files in it are closed, each with its error
	err = eachFile(&m.Service, func(r *fileReference) error {
		if err := m.check(r); err != nil {
			return err
		}
		place := u.file
		if r.folder {
			place = u.tree
		}
		at, err := place(root, m, *r.name)
		*r.name = filepath.Join(u.Folder, filepath.FromSlash(at))
		return err
	})
	if err != nil {
		return fmt.Errorf("unpack revision %s: %w", m.ID, err)
	}
	return nil
}

// file puts a file at DIGEST/NAME.
func (u Unpacking) file(root *os.Root, m *Manifest, ref string) (string, error) {
	f, name, err := m.blob(ref)
	if err != nil {
		return "", invalid(err)
	}
	folder := hexDigest(f.Digest).String()
	if err := root.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	at := folder + "/" + name
	if info, err := root.Stat(at); err == nil && info.Size() == f.Size {
		return at, nil
	}
	// A dot goes before what is not whole yet: no name that is shipped has one.
	if err := u.write(root, folder+"/.part", f); err != nil {
		return "", err
	}
	return at, root.Rename(folder+"/.part", at)
}

// tree puts a folder at tree-DIGEST. It has its name when it is whole.
func (u Unpacking) tree(root *os.Root, m *Manifest, ref string) (string, error) {
	digest := strings.TrimPrefix(ref, treePrefix)
	at := "tree-" + digest
	if _, err := root.Stat(at); err == nil {
		return at, nil
	}
	part := ".tree-" + digest
	if err := root.RemoveAll(part); err != nil { // of a process that was killed
		return "", err
	}
	if err := root.Mkdir(part, 0o700); err != nil {
		return "", err
	}
	for _, f := range m.folders[digest] {
		to := part + "/" + f.Path
		if err := root.MkdirAll(to[:strings.LastIndexByte(to, '/')], 0o700); err != nil {
			return "", err
		}
		if err := u.write(root, to, File{Digest(f.Digest), f.Size}); err != nil {
			return "", err
		}
	}
	return at, root.Rename(part, at)
}

// write fetches a blob into a file, verified and on the disk.
func (u Unpacking) write(root *os.Root, to string, want File) (err error) {
	r, err := u.Open(want.Digest)
	if err != nil {
		return fmt.Errorf("open file %s: %w", hexDigest(want.Digest), err)
	}
	defer r.Close()
	w, err := root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, want.Size+1))
	if err != nil {
		return fmt.Errorf("fetch file %s: %w", hexDigest(want.Digest), err)
	}
	if got := Digest(sum.Sum(nil)); n != want.Size || got != want.Digest {
		return selvage.Errorf(selvage.Invalid, "file %s with %d bytes: at least %d came, with the digest %s",
			hexDigest(want.Digest), want.Size, n, hex.EncodeToString(got[:]))
	}
	return w.Sync()
}
