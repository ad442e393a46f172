package state

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/selvage-edge/selvage"
)

type memoryBlobs struct {
	limits Limits

	mu    sync.Mutex // guards what follows
	all   map[BlobKey][]byte
	bytes int64
}

func (m *memoryBlobs) Put(ctx context.Context, key BlobKey, r io.Reader) error {
	if _, err := m.Stat(ctx, key); err == nil || selvage.KindOf(err) != selvage.NotFound {
		return err
	}
	limit := int64(m.limits.Blobs)
	data, err := io.ReadAll(io.LimitReader(verify(key, r), limit+1))
	if err := cmp.Or(err, alive(ctx)); err != nil {
		return fmt.Errorf("put blob %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	size := int64(len(data)) + overhead
	if m.bytes+size > limit {
		return m.limits.full("blobs")
	}
	if _, ok := m.all[key]; !ok {
		m.all[key] = data
		m.bytes += size
	}
	return nil
}

func (m *memoryBlobs) get(ctx context.Context, key BlobKey) ([]byte, error) {
	if err := cmp.Or(key.check(), alive(ctx)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.all[key]
	if !ok {
		return nil, noBlob(key)
	}
	return data, nil
}

func (m *memoryBlobs) Open(ctx context.Context, key BlobKey) (io.ReadCloser, error) {
	data, err := m.get(ctx, key)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(verify(key, bytes.NewReader(data))), nil
}

func (m *memoryBlobs) Stat(ctx context.Context, key BlobKey) (BlobInfo, error) {
	data, err := m.get(ctx, key)
	if err != nil {
		return BlobInfo{}, err
	}
	return BlobInfo{key, int64(len(data))}, nil
}

func (m *memoryBlobs) Delete(ctx context.Context, key BlobKey) error {
	data, err := m.get(ctx, key)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.all[key]; !ok {
		return noBlob(key)
	}
	delete(m.all, key)
	m.bytes -= int64(len(data)) + overhead
	return nil
}

func (m *memoryBlobs) List(ctx context.Context, tenant selvage.Tenant) iter.Seq2[BlobInfo, error] {
	return func(yield func(BlobInfo, error) bool) {
		if err := cmp.Or(BlobKey{Tenant: tenant}.check(), alive(ctx)); err != nil {
			yield(BlobInfo{}, err)
			return
		}
		for _, info := range m.of(tenant) {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (m *memoryBlobs) of(tenant selvage.Tenant) []BlobInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []BlobInfo
	for key, data := range m.all {
		if key.Tenant == tenant {
			out = append(out, BlobInfo{key, int64(len(data))})
		}
	}
	return out
}

func noBlob(key BlobKey) error { return selvage.Errorf(selvage.NotFound, "blob %s is not there", key) }
