package manifest

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
)

// The bounds of a package.
const (
	// MaxModule is how large a program may be if nobody says, in bytes.
	MaxModule = 100_000_000
	// maxEntries is how many files a package may have.
	maxEntries = 10_000
	// maxBeside is how many bytes there may be beside the program.
	maxBeside = 8 << 20
)

// Package is what a package of Fastly's command line has.
type Package struct {
	Module   []byte // bin/main.wasm
	Manifest []byte // fastly.toml as it was when it was built; nil without one
}

// Unpack takes the program out of a package, which is a tar.gz with
// NAME/bin/main.wasm. A program of more than most bytes is refused; 0 means
// [MaxModule].
func Unpack(r io.Reader, most int64) (*Package, error) {
	if most <= 0 {
		most = MaxModule
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	defer func() { _ = z.Close() }() // everything has been read that counts
	all := &io.LimitedReader{R: z, N: most + maxBeside}
	files := tar.NewReader(all)
	p := &Package{}
	for range maxEntries {
		head, err := files.Next()
		switch {
		case errors.Is(err, io.EOF) && p.Module != nil:
			return p, nil
		case errors.Is(err, io.EOF) && all.N > 0:
			return nil, errors.New("open package: there is no bin/main.wasm in it")
		case all.N <= 0:
			return nil, fmt.Errorf("open package: it unpacks to more than %d bytes", most+maxBeside)
		case err != nil:
			return nil, fmt.Errorf("open package: %w", err)
		case head.Typeflag != tar.TypeReg:
			continue
		}
		if err := p.take(files, head, most); err != nil {
			return nil, fmt.Errorf("open package: %w", err)
		}
	}
	return nil, fmt.Errorf("open package: it has more than %d files", maxEntries)
}

// take takes a file, if it is one that counts.
func (p *Package) take(files io.Reader, head *tar.Header, most int64) error {
	name := path.Clean("/" + head.Name)
	folder, base := path.Split(name)
	switch {
	case base == "main.wasm" && path.Base(folder) == "bin" && depth(folder) <= 2 && p.Module == nil:
		data, err := bounded(files, head, most)
		p.Module = data
		return err
	case base == "fastly.toml" && depth(folder) <= 1 && p.Manifest == nil:
		data, err := bounded(files, head, maxManifest)
		p.Manifest = data
		return err
	}
	return nil
}

// depth is how many folders are above a file.
func depth(folder string) int {
	n := 0
	for folder = path.Clean(folder); folder != "/"; folder = path.Dir(folder) {
		n++
	}
	return n
}

// bounded reads a file of at most so many bytes.
func bounded(r io.Reader, head *tar.Header, most int64) ([]byte, error) {
	if head.Size > most {
		return nil, fmt.Errorf("%s has %d bytes, %d are allowed", head.Name, head.Size, most)
	}
	data, err := io.ReadAll(io.LimitReader(r, most))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", head.Name, err)
	}
	return data, nil
}
