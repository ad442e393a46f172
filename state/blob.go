package state

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"iter"

	"github.com/selvage-edge/selvage"
)

// BlobInfo is what is known of a blob.
type BlobInfo struct {
	Key  BlobKey
	Size int64 // bytes
}

// Blobs are large immutable values, found by the SHA-256 of what is in them.
// Neither way does one lie in memory whole (but in the memory twin).
type Blobs interface {
	// Put stores what r gives: Invalid if that is not what the key says, and then nothing is
	// stored. A blob that is there already is not read again.
	Put(ctx context.Context, key BlobKey, r io.Reader) error
	// Open reads a blob: NotFound if it is not there. The reader fails instead of ending
	// where the bytes were not what the key says: what was read is good only after io.EOF.
	Open(ctx context.Context, key BlobKey) (io.ReadCloser, error)
	// Stat says how large a blob is: NotFound if it is not there.
	Stat(ctx context.Context, key BlobKey) (BlobInfo, error)
	// Delete removes a blob: NotFound if it is not there. Who is reading it fails.
	Delete(ctx context.Context, key BlobKey) error
	// List gives the tenant's blobs in no order.
	List(ctx context.Context, tenant selvage.Tenant) iter.Seq2[BlobInfo, error]
}

// ReadBlob reads a blob of at most limit bytes into memory, verified: Invalid if it is larger.
func ReadBlob(ctx context.Context, blobs Blobs, key BlobKey, limit int64) ([]byte, error) {
	info, err := blobs.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if info.Size > limit {
		return nil, selvage.Errorf(selvage.Invalid, "blob %s has %d bytes, the most is %d", key, info.Size, limit)
	}
	r, err := blobs.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// verifier fails where the bytes that went through are not the digest's.
type verifier struct {
	key   BlobKey
	r     io.Reader
	sum   hash.Hash
	right bool // all was read, and it is what the key says
}

func verify(key BlobKey, r io.Reader) *verifier { return &verifier{key: key, r: r, sum: sha256.New()} }

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	if err == io.EOF {
		if got := Digest(v.sum.Sum(nil)); got != v.key.Digest {
			return n, selvage.Errorf(selvage.Invalid, "the bytes of blob %s have the digest %s", v.key, got)
		}
		v.right = true
	}
	return n, err
}
