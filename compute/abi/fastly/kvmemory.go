package fastly

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultMemoryKV is how many bytes a [MemoryKV] holds if nobody says.
const DefaultMemoryKV = 64 << 20

// MemoryKV is a KV store in memory, bounded. Its zero value works.
type MemoryKV struct {
	// Bytes is the bound of all keys, values and metadata. Default [DefaultMemoryKV].
	Bytes int64

	mu      sync.Mutex
	entries map[string]memoryEntry // guarded by mu
	used    int64                  // guarded by mu
	last    uint64                 // guarded by mu: generation
}

type memoryEntry struct {
	KVValue
	ends time.Time // zero: never
}

func (e memoryEntry) size(key string) int64 {
	return int64(len(key) + len(e.Body) + len(e.Metadata))
}

// getLocked is what is there and has not ended.
func (m *MemoryKV) getLocked(key string) (memoryEntry, bool) {
	e, ok := m.entries[key]
	if ok && !e.ends.IsZero() && !time.Now().Before(e.ends) {
		m.dropLocked(key)
		return memoryEntry{}, false
	}
	return e, ok
}

func (m *MemoryKV) dropLocked(key string) {
	m.used -= m.entries[key].size(key)
	delete(m.entries, key)
}

// Lookup reads a key.
func (m *MemoryKV) Lookup(_ context.Context, key string) (KVValue, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.getLocked(key)
	if !ok {
		return KVValue{}, KVNotFound
	}
	return e.KVValue, nil
}

// Insert writes a key.
func (m *MemoryKV) Insert(_ context.Context, key string, v KVInsert) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, there := m.getLocked(key)
	value, err := v.Over(old.KVValue, there)
	if err != nil {
		return err
	}
	m.last++
	value.Generation = m.last
	e := memoryEntry{KVValue: value}
	if v.TTL > 0 {
		e.ends = time.Now().Add(v.TTL)
	}
	most := m.Bytes
	if most <= 0 {
		most = DefaultMemoryKV
	}
	if there {
		m.dropLocked(key)
	}
	if m.used+e.size(key) > most {
		if there {
			m.putLocked(key, old)
		}
		return KVTooLarge
	}
	m.putLocked(key, e)
	return nil
}

func (m *MemoryKV) putLocked(key string, e memoryEntry) {
	if m.entries == nil {
		m.entries = map[string]memoryEntry{}
	}
	m.entries[key] = e
	m.used += e.size(key)
}

// Over is what an insertion makes of what is there, without a generation:
// KVPreconditionFailed if it must not be made.
func (v KVInsert) Over(old KVValue, there bool) (KVValue, error) {
	if v.IfGeneration != nil && (!there || *v.IfGeneration != old.Generation) {
		return KVValue{}, KVPreconditionFailed
	}
	body := v.Body
	switch v.Mode {
	case KVAdd:
		if there {
			return KVValue{}, KVPreconditionFailed
		}
	case KVAppend:
		body = slices.Concat(old.Body, v.Body)
	case KVPrepend:
		body = slices.Concat(v.Body, old.Body)
	}
	if len(body) > maxKVBody {
		return KVValue{}, KVTooLarge
	}
	return KVValue{Body: bytes.Clone(body), Metadata: v.Metadata}, nil
}

// Delete removes a key.
func (m *MemoryKV) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.getLocked(key); !ok {
		return KVNotFound
	}
	m.dropLocked(key)
	return nil
}

// List reads keys in order.
func (m *MemoryKV) List(_ context.Context, l KVList) (KVPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := make([]string, 0, len(m.entries))
	for key := range m.entries {
		if key > l.After && strings.HasPrefix(key, l.Prefix) {
			if _, ok := m.getLocked(key); ok {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	if len(keys) > l.Limit {
		return KVPage{Keys: keys[:l.Limit], More: true}, nil
	}
	return KVPage{Keys: keys}, nil
}
