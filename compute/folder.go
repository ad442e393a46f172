package compute

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
)

// folder keeps compiled files: a folder for each metered module, named by its
// SHA-256, and in it what the engine writes and the file sum, which has the
// SHA-256 of that. The engine's own check leaves out where functions begin, so
// a file is used only if its sum is right.
type folder struct {
	path string
	most int64
	mu   sync.Mutex // of what is in the folder
}

// sumName is the file of sums. It is written last, and touched with each use.
const sumName = "sum"

// entry is what is kept of a module.
type entry struct {
	cache     wazero.CompilationCache
	found     bool // it is there and whole
	corrupted bool // it was there, and not whole
}

func (f *folder) at(digest [32]byte) string {
	return filepath.Join(f.path, hex.EncodeToString(digest[:]))
}

// open looks for a module, and throws away what is not whole.
func (f *folder) open(digest [32]byte) (*entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := os.MkdirAll(f.path, 0o700); err != nil { // not before there is something to keep
		return nil, err
	}
	at := f.at(digest)
	e := &entry{}
	want, err := os.ReadFile(filepath.Join(at, sumName))
	switch {
	case err == nil:
		sum, sumErr := sumOf(at)
		e.found = sumErr == nil && string(want) == sum
		e.corrupted = !e.found
	case !errors.Is(err, fs.ErrNotExist):
		e.corrupted = true
	}
	if e.found {
		now := time.Now()
		_ = os.Chtimes(filepath.Join(at, sumName), now, now) // else it only goes a little earlier
	} else if err := os.RemoveAll(at); err != nil {
		return nil, fmt.Errorf("remove what is not whole: %w", err)
	}
	if e.cache, err = wazero.NewCompilationCacheWithDir(at); err != nil {
		return nil, err
	}
	return e, nil
}

// sumOf is the SHA-256 of all that the engine wrote.
func sumOf(at string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(at, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == sumName {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(at, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d\n", rel, info.Size())
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(h, file) // some 32 KiB at a time, see Digest
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// seal says that what the engine wrote is whole, and makes room.
func (f *folder) seal(digest [32]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.at(digest)
	sum, err := sumOf(at)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(at, sumName), []byte(sum), 0o600); err != nil {
		return err
	}
	return f.makeRoomLocked(digest)
}

// Digest is the SHA-256 of a module. It is made of pieces: the processor's own instructions for it
// are not interrupted, and a collector that begins meanwhile would hold all requests up for as long as they take.
func Digest(module []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for piece := range slices.Chunk(module, 64<<10) {
		h.Write(piece)
	}
	h.Sum(sum[:0])
	return sum
}

// inSmallPages writes the engine's files anew, a page at a time. The system keeps what was written at once in large
// pages, and one that does not interrupt itself copies dozens of those before it looks who else wants to run: whoever
// reads a file of 50 MB with one call, as the engine does, would hold its processor for 50 ms.
func inSmallPages(folder string) error {
	return filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		from, err := os.Open(name)
		if err != nil {
			return err
		}
		defer from.Close()
		to, err := os.CreateTemp(filepath.Dir(name), "copy-")
		if err != nil {
			return err
		}
		defer func() { _ = os.Remove(to.Name()) }() // it is not there any more, if all went well
		// Without their other methods the system would copy by itself.
		_, err = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, 4<<10))
		if err := errors.Join(err, to.Close()); err != nil {
			return err
		}
		return os.Rename(to.Name(), name)
	})
}

func (f *folder) remove(digest [32]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = os.RemoveAll(f.at(digest)) // what stays without a right sum is not used
}

// makeRoomLocked removes what was not used for the longest time, and keeps one.
func (f *folder) makeRoomLocked(keep [32]byte) error {
	type kept struct {
		path string
		size int64
		used time.Time
	}
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return err
	}
	var all []kept
	total := int64(0)
	for _, e := range entries {
		k := kept{path: filepath.Join(f.path, e.Name())}
		if info, err := os.Stat(filepath.Join(k.path, sumName)); err == nil {
			k.used = info.ModTime()
		}
		err := filepath.WalkDir(k.path, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				k.size += info.Size()
			}
			return err
		})
		if err != nil {
			return err
		}
		total += k.size
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b kept) int { return a.used.Compare(b.used) })
	for _, k := range all {
		if total <= f.most || k.path == f.at(keep) {
			continue
		}
		if err := os.RemoveAll(k.path); err != nil {
			return err
		}
		total -= k.size
	}
	return nil
}
