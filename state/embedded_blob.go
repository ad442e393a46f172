package state

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/selvage-edge/selvage"
)

// embeddedBlobs keeps a blob as parts under a name made for the upload, and at
// last a meta record under its digest: a blob is there whole or not at all, and
// two who put the same do not disturb each other.
type embeddedBlobs struct{ e *Embedded }

// meta is the record that makes parts a blob.
type meta struct {
	Upload string `json:"upload"`
	Size   int64  `json:"size"` // bytes
}

// partSize is the bytes of a part: one sync of the disk each.
const partSize = 256 << 10

func (k BlobKey) subject() string { return subject("blob", k.Tenant, "meta", k.Digest.String()) }

func partSubject(tenant selvage.Tenant, upload string) string {
	return subject("blob", tenant, "part", upload)
}

// meta reads a blob's record and its sequence: NotFound if it is not there.
func (b *embeddedBlobs) meta(ctx context.Context, key BlobKey) (meta, uint64, error) {
	if err := key.check(); err != nil {
		return meta{}, 0, err
	}
	l, err := b.e.engine(ctx)
	if err != nil {
		return meta{}, 0, err
	}
	msg, found, err := b.e.last(ctx, l, blobStream, key.subject())
	if err == nil && !found {
		err = noBlob(key)
	}
	if err != nil {
		return meta{}, 0, err
	}
	m, err := msg.meta()
	return m, msg.seq, err
}

func (m message) meta() (out meta, err error) {
	if err := json.Unmarshal(m.data, &out); err != nil {
		return meta{}, selvage.Errorf(selvage.Internal, "read record of a blob: %w", err)
	}
	return out, nil
}

func (b *embeddedBlobs) Stat(ctx context.Context, key BlobKey) (BlobInfo, error) {
	m, _, err := b.meta(ctx, key)
	if err != nil {
		return BlobInfo{}, err
	}
	return BlobInfo{key, m.Size}, nil
}

func (b *embeddedBlobs) Put(ctx context.Context, key BlobKey, r io.Reader) error {
	if _, err := b.Stat(ctx, key); err == nil || selvage.KindOf(err) != selvage.NotFound {
		return err
	}
	l, err := b.e.writer(ctx)
	if err != nil {
		return err
	}
	m := meta{Upload: strings.ToLower(rand.Text())}
	err = b.upload(ctx, l, key, &m, r)
	if err == nil {
		err = b.finish(ctx, l, key, m)
	}
	if err == nil {
		return nil
	}
	// What was uploaded is nobody's: also when ctx is why it ended.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	purged := l.fixed[blobStream].Purge(clean, jetstream.WithPurgeSubject(partSubject(key.Tenant, m.Upload)))
	if errors.Is(err, errMoved) {
		err = nil // somebody else put the same meanwhile
	}
	if err != nil {
		return fmt.Errorf("put blob %s: %w", key, err)
	}
	return b.e.fail(ctx, "blobs", purged)
}

// upload stores the parts.
func (b *embeddedBlobs) upload(ctx context.Context, l *live, key BlobKey, m *meta, r io.Reader) error {
	v := verify(key, r)
	buf := make([]byte, partSize)
	for !v.right {
		n, err := io.ReadFull(v, buf)
		if err != nil && !v.right {
			return err // io.ErrUnexpectedEOF of r itself too
		}
		if n == 0 {
			continue
		}
		if !b.e.disk.hasRoom() {
			return b.e.diskFull()
		}
		msg := &nats.Msg{Subject: partSubject(key.Tenant, m.Upload), Data: buf[:n]}
		if _, err := b.e.publish(ctx, l, "blobs", msg); err != nil {
			return err
		}
		m.Size += int64(n)
	}
	return nil
}

// finish makes the parts a blob, if it is not there.
func (b *embeddedBlobs) finish(ctx context.Context, l *live, key BlobKey, m meta) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = b.e.publish(ctx, l, "blobs", &nats.Msg{Subject: key.subject(), Data: body}, jetstream.WithExpectLastSequencePerSubject(0))
	return err
}

func (b *embeddedBlobs) Open(ctx context.Context, key BlobKey) (io.ReadCloser, error) {
	m, _, err := b.meta(ctx, key)
	if err != nil {
		return nil, err
	}
	l, err := b.e.engine(ctx)
	if err != nil {
		return nil, err
	}
	from, left := uint64(1), m.Size
	return io.NopCloser(verify(key, &partReader{next: func() ([]message, error) {
		if left <= 0 {
			return nil, io.EOF
		}
		parts, err := b.e.next(ctx, l, blobStream, partSubject(key.Tenant, m.Upload), from)
		if err == nil && len(parts) == 0 {
			err = selvage.Errorf(selvage.NotFound, "blob %s was deleted while it was read", key)
		}
		for _, p := range parts {
			from, left = p.seq+1, left-int64(len(p.data))
		}
		return parts, err
	}})), nil
}

// partReader reads parts, some at a time.
type partReader struct {
	next  func() ([]message, error)
	parts []message
}

func (r *partReader) Read(p []byte) (int, error) {
	for len(r.parts) == 0 || len(r.parts[0].data) == 0 {
		if len(r.parts) > 0 {
			r.parts = r.parts[1:]
			continue
		}
		parts, err := r.next()
		if err != nil {
			return 0, err
		}
		r.parts = parts
	}
	n := copy(p, r.parts[0].data)
	r.parts[0].data = r.parts[0].data[n:]
	return n, nil
}

func (b *embeddedBlobs) Delete(ctx context.Context, key BlobKey) error {
	m, seq, err := b.meta(ctx, key)
	if err != nil {
		return err
	}
	l, err := b.e.engine(ctx)
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// The record goes first: what is left by a crash in between is swept up at the next start.
	if err := l.fixed[blobStream].DeleteMsg(call, seq); err != nil {
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return noBlob(key)
		}
		return b.e.fail(ctx, "blobs", err)
	}
	return b.e.fail(ctx, "blobs", l.fixed[blobStream].Purge(call, jetstream.WithPurgeSubject(partSubject(key.Tenant, m.Upload))))
}

func (b *embeddedBlobs) List(ctx context.Context, tenant selvage.Tenant) iter.Seq2[BlobInfo, error] {
	return func(yield func(BlobInfo, error) bool) {
		if err := (BlobKey{Tenant: tenant}).check(); err != nil {
			yield(BlobInfo{}, err)
			return
		}
		l, err := b.e.engine(ctx)
		for from := uint64(1); err == nil; {
			var messages []message
			messages, err = b.e.next(ctx, l, blobStream, subject("blob", tenant, "meta")+".*", from)
			if err == nil && len(messages) == 0 {
				return
			}
			for _, msg := range messages {
				from = msg.seq + 1
				info, e := msg.blobInfo()
				if !yield(info, e) || e != nil {
					return
				}
			}
		}
		yield(BlobInfo{}, err)
	}
}

func (m message) blobInfo() (BlobInfo, error) {
	record, err := m.meta()
	if err != nil {
		return BlobInfo{}, err
	}
	digest, err := ParseDigest(m.part(3))
	return BlobInfo{BlobKey{selvage.Tenant(m.part(1)), digest}, record.Size}, err
}

// sweepBlobs removes parts that no record names: an upload that was killed.
func sweepBlobs(ctx context.Context, l *live) error {
	stream := l.fixed[blobStream]
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter("blob.*.>"))
	if err != nil {
		return fmt.Errorf("sweep blobs: %w", err)
	}
	orphans := map[string]bool{}
	for name := range info.State.Subjects {
		if m := (message{subject: name}); m.part(2) == "part" {
			orphans[name] = true
		}
	}
	for name := range info.State.Subjects {
		if m := (message{subject: name}); m.part(2) == "part" {
			continue
		}
		raw, err := stream.GetLastMsgForSubject(ctx, name)
		if err != nil {
			return fmt.Errorf("sweep blobs: %w", err)
		}
		m := message{subject: name, data: raw.Data}
		record, err := m.meta()
		if err != nil {
			return err
		}
		delete(orphans, partSubject(selvage.Tenant(m.part(1)), record.Upload))
	}
	for name := range orphans {
		if err := stream.Purge(ctx, jetstream.WithPurgeSubject(name)); err != nil {
			return fmt.Errorf("sweep blobs: %w", err)
		}
	}
	return nil
}
