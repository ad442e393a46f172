// Package kvstate keeps the KV stores of functions in the state of the fleet.
//
// Look at [New] first: a [Store] is a fastly.KV. It promises that a write
// replaces what it has read and nothing else, also when several nodes write at
// once, and that a generation is another one after each write. It refuses to
// hold a store's values in memory.
//
// What all stores of a service take is bounded by their [Room]. Entries whose time is
// over are removed when they are met, and by [Store.Sweep].
//
// A store is a collection, named kv/SERVICE/STORE (or, if that is too long, a
// digest of it). An entry is a document, whose id is the SHA-256 of its key and
// whose value is JSON with the key in it. A body of more than 4 KiB is a blob
// of its own, which begins with 16 random bytes, so that no two entries share
// one: it goes with the entry. What [Store.Fill] has written is in the
// collection kv-filled, a document for each store.
package kvstate

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/state"
)

const (
	// inline is how long a body may be to stay in its document, in bytes.
	inline = 4 << 10
	// nonce is how many random bytes a blob begins with.
	nonce = 16
	// tries is how often a write is tried again when others were quicker.
	tries = 16
	// maxReadable is how long the names of a service and a store may be together to be read in the key.
	maxReadable = 30
	// maxBody is the longest body, in bytes.
	maxBody = 25 << 20
)

// Store is one KV store. It is safe for concurrent use.
type Store struct {
	state      *state.Store
	room       *Room
	collection state.Collection
}

// New is the store of a name, of a service. Its stores share a room.
func New(s *state.Store, room *Room, tenant selvage.Tenant, service selvage.ServiceName, name string) *Store {
	id := string(service) + "/" + name
	if len(id) > maxReadable {
		sum := sha256.Sum256([]byte(id))
		id = hex.EncodeToString(sum[:16])
	}
	return &Store{s, room, state.Collection{Tenant: tenant, Name: "kv/" + id}}
}

// entry is the value of a document.
type entry struct {
	Key      string        `json:"key"`
	Metadata string        `json:"metadata,omitempty"`
	Ends     *time.Time    `json:"ends,omitempty"`
	Body     []byte        `json:"body,omitempty"`
	Blob     *state.Digest `json:"blob,omitempty"`
	Size     int64         `json:"size,omitempty"` // of the blob

	revision state.Revision
}

// over says whether an entry's time is over.
func (e *entry) over() bool { return e.Ends != nil && !time.Now().Before(*e.Ends) }

func (s *Store) id(key string) state.DocumentKey {
	sum := sha256.Sum256([]byte(key))
	return s.collection.Key(hex.EncodeToString(sum[:]))
}

// get is the entry of a key; nil if there is no document. Its time may be over.
func (s *Store) get(ctx context.Context, key string) (*entry, error) {
	d, err := s.state.Documents.Get(ctx, s.id(key))
	if selvage.KindOf(err) == selvage.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := &entry{revision: d.Revision}
	if err := json.Unmarshal(d.Value, e); err != nil {
		return nil, fmt.Errorf("read KV entry %s: %w", d.Key, err)
	}
	return e, nil
}

// body is an entry's body.
func (s *Store) body(ctx context.Context, e *entry) ([]byte, error) {
	if e.Blob == nil {
		return e.Body, nil
	}
	data, err := state.ReadBlob(ctx, s.state.Blobs, s.blob(*e.Blob), maxBody+nonce)
	if err != nil {
		return nil, err
	}
	return data[min(nonce, len(data)):], nil
}

func (s *Store) blob(d state.Digest) state.BlobKey {
	return state.BlobKey{Tenant: s.collection.Tenant, Digest: d}
}

// Lookup reads a key.
func (s *Store) Lookup(ctx context.Context, key string) (fastly.KVValue, error) {
	for range tries {
		e, err := s.get(ctx, key)
		if err != nil {
			return fastly.KVValue{}, err
		}
		if e == nil || e.over() {
			s.bury(ctx, e)
			return fastly.KVValue{}, fastly.KVNotFound
		}
		body, err := s.body(ctx, e)
		if selvage.KindOf(err) == selvage.NotFound {
			continue // it was replaced meanwhile
		}
		return fastly.KVValue{Body: body, Metadata: e.Metadata, Generation: uint64(e.revision)}, err
	}
	return fastly.KVValue{}, fastly.KVTooMany
}

// Insert writes a key.
func (s *Store) Insert(ctx context.Context, key string, v fastly.KVInsert) error {
	for range tries {
		done, err := s.insert(ctx, key, v)
		if done || err != nil {
			return err
		}
	}
	return fastly.KVTooMany
}

// insert tries to write; false: somebody else was quicker.
func (s *Store) insert(ctx context.Context, key string, v fastly.KVInsert) (bool, error) {
	old, err := s.get(ctx, key)
	if err != nil {
		return false, err
	}
	expect, there := state.Absent, false
	var was fastly.KVValue
	if old != nil {
		expect, there = old.revision, !old.over()
		was.Generation = uint64(old.revision)
	}
	if there && (v.Mode == fastly.KVAppend || v.Mode == fastly.KVPrepend) {
		if was.Body, err = s.body(ctx, old); selvage.KindOf(err) == selvage.NotFound {
			return false, nil // it was replaced meanwhile
		} else if err != nil {
			return false, err
		}
	}
	value, err := v.Over(was, there)
	if err != nil {
		return false, err
	}
	e := &entry{Key: key, Metadata: value.Metadata}
	if v.TTL > 0 {
		ends := time.Now().Add(v.TTL)
		e.Ends = &ends
	}
	if err := s.room.fits(ctx, s, int64(len(value.Body))); err != nil {
		return false, err
	}
	if err := s.keep(ctx, e, value.Body); err != nil {
		return false, full(err)
	}
	text, err := json.Marshal(e)
	if err == nil {
		_, err = s.state.Documents.Put(ctx, s.id(key), text, expect)
	}
	if err != nil {
		s.drop(ctx, e)
		if selvage.KindOf(err) == selvage.Conflict {
			return false, nil
		}
		return false, full(err)
	}
	s.room.wrote(int64(len(text)), e.Size)
	s.drop(ctx, old)
	return true, nil
}

// full is what a program is told when there is no room.
func full(err error) error {
	if errors.Is(err, state.ErrFull) {
		return errors.Join(fastly.KVTooLarge, err)
	}
	return err
}

// bury removes an entry whose time is over. One that cannot be removed stays for
// the next who meets it.
func (s *Store) bury(ctx context.Context, e *entry) {
	if e == nil || !e.over() {
		return
	}
	if s.state.Documents.Delete(ctx, s.id(e.Key), e.revision) == nil {
		s.drop(ctx, e)
	}
}

// keep puts a body into its entry, or into a blob.
func (s *Store) keep(ctx context.Context, e *entry, body []byte) error {
	if len(body) <= inline {
		e.Body = body
		return nil
	}
	var first [nonce]byte
	_, _ = rand.Read(first[:]) // it never fails
	sum := sha256.New()
	_, _ = sum.Write(first[:])
	_, _ = sum.Write(body)
	d := state.Digest(sum.Sum(nil))
	e.Blob, e.Size = &d, int64(len(body)+nonce)
	return s.state.Blobs.Put(ctx, s.blob(d), io.MultiReader(bytes.NewReader(first[:]), bytes.NewReader(body)))
}

// drop removes the blob of an entry that is no more. One that cannot be removed
// stays; nothing refers to it.
func (s *Store) drop(ctx context.Context, e *entry) {
	if e != nil && e.Blob != nil {
		_ = s.state.Blobs.Delete(context.WithoutCancel(ctx), s.blob(*e.Blob))
	}
}

// Delete removes a key.
func (s *Store) Delete(ctx context.Context, key string) error {
	for range tries {
		e, err := s.get(ctx, key)
		if err != nil {
			return err
		}
		if e == nil {
			return fastly.KVNotFound
		}
		err = s.state.Documents.Delete(ctx, s.id(key), e.revision)
		switch selvage.KindOf(err) {
		case selvage.Conflict:
			continue
		case selvage.NotFound:
			return fastly.KVNotFound
		}
		if err != nil {
			return err
		}
		s.drop(ctx, e)
		if e.over() {
			return fastly.KVNotFound
		}
		return nil
	}
	return fastly.KVTooMany
}

// List reads keys in order. It goes through all documents of the store.
func (s *Store) List(ctx context.Context, l fastly.KVList) (fastly.KVPage, error) {
	var keys []string
	err := s.each(ctx, func(e *entry, _ int64) {
		if e.Key > l.After && strings.HasPrefix(e.Key, l.Prefix) && !e.over() {
			keys = append(keys, e.Key)
		}
	})
	if err != nil {
		return fastly.KVPage{}, err
	}
	slices.Sort(keys)
	if len(keys) > l.Limit {
		return fastly.KVPage{Keys: keys[:l.Limit], More: true}, nil
	}
	return fastly.KVPage{Keys: keys}, nil
}

// each goes through the entries, with what each takes as a document.
func (s *Store) each(ctx context.Context, do func(e *entry, size int64)) error {
	for d, err := range s.state.Documents.List(ctx, s.collection) {
		if err != nil {
			return err
		}
		e := &entry{revision: d.Revision}
		if err := json.Unmarshal(d.Value, e); err != nil {
			return fmt.Errorf("read KV entry %s: %w", d.Key, err)
		}
		do(e, int64(len(d.Value)))
	}
	return nil
}

// Sweep removes the entries whose time is over.
func (s *Store) Sweep(ctx context.Context) error {
	var over []*entry
	err := s.each(ctx, func(e *entry, _ int64) {
		if e.over() {
			over = append(over, e)
		}
	})
	for _, e := range over {
		s.bury(ctx, e)
	}
	return err
}
