package state

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/selvage-edge/selvage"
)

// Collection names documents of one sort: it is what can be listed and watched.
type Collection struct {
	Tenant selvage.Tenant
	Name   string
}

// Key is the key of the collection's document id.
func (c Collection) Key(id string) DocumentKey { return DocumentKey{c, id} }

// DocumentKey names a document.
type DocumentKey struct {
	Collection
	ID string
}

// FeedKey names a feed.
type FeedKey struct {
	Tenant selvage.Tenant
	Name   string
}

// QueueKey names a queue.
type QueueKey struct {
	Tenant selvage.Tenant
	Name   string
}

// LeaseKey names a lease.
type LeaseKey struct {
	Tenant selvage.Tenant
	Name   string
}

// BlobKey names a blob by what is in it.
type BlobKey struct {
	Tenant selvage.Tenant
	Digest Digest
}

// Digest is a SHA-256.
type Digest [sha256.Size]byte

// DigestOf is the digest of data.
func DigestOf(data []byte) Digest { return sha256.Sum256(data) }

// ParseDigest reads 64 hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if n, err := hex.Decode(d[:], []byte(s)); len(s) != 2*len(d) || err != nil || n != len(d) {
		return Digest{}, selvage.Errorf(selvage.Invalid, "%.80q is not a SHA-256 in hexadecimal digits", s)
	}
	return d, nil
}

// String is the digest in lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText writes what String does.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what String writes.
func (d *Digest) UnmarshalText(text []byte) error {
	v, err := ParseDigest(string(text))
	if err == nil {
		*d = v
	}
	return err
}

// What a part of a key may take when it is escaped. A feed's two parts make
// the name of a folder, which ends at 255 bytes.
const (
	maxName = 110
	maxID   = 512
)

func (k DocumentKey) String() string { return join(k.Tenant, k.Name, k.ID) }
func (c Collection) String() string  { return join(c.Tenant, c.Name) }
func (k FeedKey) String() string     { return join(k.Tenant, k.Name) }
func (k QueueKey) String() string    { return join(k.Tenant, k.Name) }
func (k LeaseKey) String() string    { return join(k.Tenant, k.Name) }
func (k BlobKey) String() string     { return join(k.Tenant, k.Digest.String()) }

func join(tenant selvage.Tenant, parts ...string) string {
	return string(tenant) + "/" + strings.Join(parts, "/")
}

// check refuses what cannot be a key.
func (k DocumentKey) check() error {
	if err := k.Collection.check(); err != nil {
		return err
	}
	return checkPart("document", k.ID, maxID)
}

func (c Collection) check() error { return checkParts("collection", c.Tenant, c.Name) }
func (k FeedKey) check() error    { return checkParts("feed", k.Tenant, k.Name) }
func (k QueueKey) check() error   { return checkParts("queue", k.Tenant, k.Name) }
func (k LeaseKey) check() error   { return checkParts("lease", k.Tenant, k.Name) }
func (k BlobKey) check() error    { return checkPart("tenant", string(k.Tenant), maxName) }

func checkParts(what string, tenant selvage.Tenant, name string) error {
	if err := checkPart("tenant", string(tenant), maxName); err != nil {
		return err
	}
	return checkPart(what, name, maxName)
}

func checkPart(what, part string, most int) error {
	if part == "" {
		return selvage.Errorf(selvage.Invalid, "the key has no %s", what)
	}
	if n := len(escape(part)); n > most {
		return selvage.Errorf(selvage.Invalid, "the %s %.40q… takes %d bytes, the most is %d", what, part, n, most)
	}
	return nil
}

const hexDigits = "0123456789abcdef"

// escape writes a part of a key with letters that no separator has.
func escape(part string) string {
	var b strings.Builder
	for i := range len(part) {
		c := part[i]
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('=')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// unescape reads what escape wrote, and gives anything else as it is.
func unescape(s string) string {
	var b strings.Builder
	for rest := s; ; {
		plain, escaped, found := strings.Cut(rest, "=")
		b.WriteString(plain)
		if !found {
			return b.String()
		}
		if len(escaped) < 2 {
			return s
		}
		c, err := hex.DecodeString(escaped[:2])
		if err != nil {
			return s
		}
		b.WriteByte(c[0])
		rest = escaped[2:]
	}
}
