package kvstate

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/state"
)

// filled is the value of the document that says what Fill has written: what each
// entry was, by its key.
type filled map[string]digest

type digest [8]byte

func digestOf(v fastly.KVInsert) digest {
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%d %s", len(v.Metadata), v.Metadata) // it never fails
	_, _ = sum.Write(v.Body)
	return digest(sum.Sum(nil))
}

func (s *Store) filledKey() state.DocumentKey {
	sum := sha256.Sum256([]byte(s.collection.Name))
	return state.Collection{Tenant: s.collection.Tenant, Name: "kv-filled"}.Key(fmt.Sprintf("%x", sum))
}

// Fill writes what a store has at first: each entry once, so that it neither undoes
// what programs have made of it nor brings back what they removed. What is there
// already under such a key stays. If renew, entries that are others than when they
// were written are written again, over what is there. Nodes may do it at once.
func (s *Store) Fill(ctx context.Context, entries map[string]fastly.KVInsert, renew bool) error {
	for range tries {
		done, err := s.fill(ctx, entries, renew)
		if done || err != nil {
			return err
		}
	}
	return fastly.KVTooMany
}

// fill tries it; false: another node was quicker with some of it.
func (s *Store) fill(ctx context.Context, entries map[string]fastly.KVInsert, renew bool) (bool, error) {
	// What is there is looked at before it is known what was filled: a program that runs on
	// what another node fills then writes after that, and is not overwritten.
	there := make(map[string]uint64, len(entries))
	for key := range entries {
		e, err := s.get(ctx, key)
		if err != nil {
			return false, err
		}
		if e != nil && !e.over() {
			there[key] = uint64(e.revision)
		}
	}
	was := filled{}
	expect := state.Absent
	d, err := s.state.Documents.Get(ctx, s.filledKey())
	if err == nil {
		expect, err = d.Revision, json.Unmarshal(d.Value, &was)
	}
	if err != nil && selvage.KindOf(err) != selvage.NotFound {
		return false, fmt.Errorf("read what KV store %s was filled with: %w", s.collection.Name, err)
	}
	changed := false
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		v := entries[key]
		before, known := was[key]
		if now := digestOf(v); known && (before == now || !renew) {
			continue
		} else {
			was[key], changed = now, true
		}
		generation, has := there[key]
		switch {
		case !has:
			v.Mode = fastly.KVAdd
		case known:
			v.IfGeneration = &generation
		default:
			continue
		}
		if err := s.Insert(ctx, key, v); err != nil && !errors.Is(err, fastly.KVPreconditionFailed) {
			return false, fmt.Errorf("fill KV store %s: key %q: %w", s.collection.Name, key, err)
		}
	}
	if !changed {
		return true, nil
	}
	text, err := json.Marshal(was)
	if err != nil {
		return false, err
	}
	_, err = s.state.Documents.Put(ctx, s.filledKey(), text, expect)
	if selvage.KindOf(err) == selvage.Conflict {
		return false, nil
	}
	return err == nil, full(err)
}
