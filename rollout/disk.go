package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/state"
)

// memory is what a node remembers of a service by itself, on its own disk.
type memory struct {
	Promoted stored
	Back     stored             // the one before it, where its functions may have to stand in
	Journal  *journal           // what it served that is on trial; gone after a clean end
	Crashed  *crash             // what the journal said after an unclean one
	Undone   []selvage.ChangeID // tombstones, the newest last
	Untold   []tombstone        // those that the store has not heard of
	Begun    selvage.ChangeID   // the last change that was counted …
	Life     uint64             // … and which count it is
	Book     *keptBook          // the count, after a clean end
}

// stored is a revision whose files are in the folder.
type stored struct {
	Revision selvage.RevisionID
	Manifest state.Digest
}

// journal says what the node serves that is on trial. It is on the disk before a
// user gets it.
type journal struct {
	Change selvage.ChangeID
	From   stored
	Had    time.Duration // so far
}

type crash struct {
	Change selvage.ChangeID
	Ends   int
	Had    time.Duration
}

type tombstone struct {
	Change selvage.ChangeID
	Words  string
}

type keptBook struct {
	Change  selvage.ChangeID
	Elapsed time.Duration
	Data    json.RawMessage
}

// maxTombstones is how many undos a node remembers of a service.
const maxTombstones = 64

func (m *memory) undone(id selvage.ChangeID) bool { return slices.Contains(m.Undone, id) }

func (m *memory) bury(t tombstone) {
	if m.undone(t.Change) {
		return
	}
	m.Undone = append(m.Undone, t.Change)
	m.Undone = m.Undone[max(len(m.Undone)-maxTombstones, 0):]
	m.Untold = append(m.Untold, t)
	m.Untold = m.Untold[max(len(m.Untold)-maxTombstones, 0):]
}

// disk is the folder of one agent. An empty folder's name is none: nothing is kept.
type disk struct{ folder string }

const suffix = ".json"

func (d disk) name(service selvage.ServiceName) string {
	return filepath.Join(d.folder, url.PathEscape(string(service))+suffix)
}

// revision is the folder of a revision: its manifest and files.
func (d disk) revision(manifest state.Digest) string {
	return filepath.Join(d.folder, "revisions", manifest.String())
}

// load reads what is remembered. What cannot be read is an error: a node that
// forgot a tombstone would serve what was undone.
func (d disk) load() (map[selvage.ServiceName]*memory, error) {
	out := map[selvage.ServiceName]*memory{}
	if d.folder == "" {
		return out, nil
	}
	if err := os.MkdirAll(filepath.Join(d.folder, "revisions"), 0o700); err != nil {
		return nil, fmt.Errorf("make folder of revisions: %w", err)
	}
	entries, err := os.ReadDir(d.folder)
	if err != nil {
		return nil, fmt.Errorf("read folder of revisions: %w", err)
	}
	for _, e := range entries {
		escaped, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		name, err := url.PathUnescape(escaped)
		if err != nil {
			continue // not ours
		}
		data, err := os.ReadFile(filepath.Join(d.folder, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read what service %s had: %w", name, err)
		}
		m := new(memory)
		if err := json.Unmarshal(data, m); err != nil {
			return nil, fmt.Errorf("read what service %s had: %s: %w", name, e.Name(), err)
		}
		out[selvage.ServiceName(name)] = m
	}
	return out, nil
}

// save makes a memory durable, whole or not at all.
func (d disk) save(service selvage.ServiceName, m *memory) error {
	if d.folder == "" {
		return nil
	}
	data, err := json.Marshal(m)
	if err == nil {
		err = replace(d.name(service), data)
	}
	if err != nil {
		return fmt.Errorf("keep what service %s has: %w", service, err)
	}
	return nil
}

// replace writes a file that is whole and on the disk when it has its name.
func replace(name string, data []byte) (err error) {
	part := name + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(part, name); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(name))
}

func syncFolder(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// manifest reads the manifest of a revision that is here.
func (d disk) manifest(digest state.Digest) ([]byte, error) {
	if d.folder == "" {
		return nil, fs.ErrNotExist
	}
	data, err := os.ReadFile(filepath.Join(d.revision(digest), "manifest"))
	if err != nil {
		return nil, err
	}
	if state.DigestOf(data) != digest {
		return nil, fs.ErrNotExist // it was not written whole, or altered: fetch it again
	}
	return data, nil
}

// sweep removes the revisions that nobody needs.
func (d disk) sweep(needed map[state.Digest]bool) {
	if d.folder == "" {
		return
	}
	entries, err := os.ReadDir(filepath.Join(d.folder, "revisions"))
	if err != nil {
		return // it is tried again with the next change
	}
	for _, e := range entries {
		digest, err := state.ParseDigest(e.Name())
		if err == nil && !needed[digest] {
			_ = os.RemoveAll(d.revision(digest))
		}
	}
}
