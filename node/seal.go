package node

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/state"
)

// seal is a key that the nodes of a tenant share. What it closes only they can
// read or make: a tag over all of it, which begins the stream of the cipher that
// hides it (the synthetic IV of RFC 5297, with HMAC in the place of CMAC). So the
// same words give the same text, and no count of texts wears the key out.
type seal struct {
	tagging []byte
	block   cipher.Block
}

const (
	sealKeySize = 32 // bytes
	sealTag     = 16
	sealTime    = 4 // seconds since 1970, for what is closed with its time
)

// newSeal makes the two keys of a shared one.
func newSeal(key []byte) (*seal, error) {
	if len(key) != sealKeySize {
		return nil, selvage.Errorf(selvage.Invalid, "the nodes' shared key has %d bytes, not %d", len(key), sealKeySize)
	}
	s := &seal{tagging: derive(key, "tag")}
	var err error
	s.block, err = aes.NewCipher(derive(key, "cipher"))
	return s, err
}

func derive(key []byte, what string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("selvage " + what))
	return mac.Sum(nil)
}

// tag is over what a text is for and what it says. The lengths are in it, so that
// no two pairs give the same.
func (s *seal) tag(what string, text []byte) []byte {
	mac := hmac.New(sha256.New, s.tagging)
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(what)))) //nolint:gosec // names of ours
	mac.Write([]byte(what))
	mac.Write(text)
	return mac.Sum(nil)[:sealTag]
}

// close makes a text that only the nodes can read, for one purpose.
func (s *seal) close(what string, text []byte) string {
	tag := s.tag(what, text)
	out := append(make([]byte, 0, sealTag+len(text)), tag...)
	out = append(out, text...)
	cipher.NewCTR(s.block, tag).XORKeyStream(out[sealTag:], out[sealTag:])
	return base64.RawURLEncoding.EncodeToString(out)
}

// open reads a text of so many bytes that was closed for this purpose.
func (s *seal) open(what, closed string, size int) (text []byte, ok bool) {
	if len(closed) != base64.RawURLEncoding.EncodedLen(sealTag+size) {
		return nil, false
	}
	in, err := base64.RawURLEncoding.Strict().DecodeString(closed)
	if err != nil {
		return nil, false
	}
	tag, text := in[:sealTag], in[sealTag:]
	cipher.NewCTR(s.block, tag).XORKeyStream(text, text)
	return text, hmac.Equal(tag, s.tag(what, text))
}

func putTime(b []byte, t time.Time) { binary.BigEndian.PutUint32(b, uint32(t.Unix())) } //nolint:gosec // until 2106

func getTime(b []byte) time.Time { return time.Unix(int64(binary.BigEndian.Uint32(b)), 0) }

// shared is the seal, when it is known: a node that does not reach the store
// serves without it.
type shared struct{ now atomic.Pointer[seal] }

// find reads the key, and makes it where there is none yet, until it has it or ctx ends.
func (s *shared) find(ctx context.Context, docs state.Documents, tenant selvage.Tenant) error {
	pause := followAgain
	for {
		found, err := sharedSeal(ctx, docs, tenant)
		if err == nil {
			s.now.Store(found)
			return nil
		}
		if selvage.KindOf(err) == selvage.Invalid {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, followMost)
	}
}

// sharedSeal is the seal of a tenant. Of nodes that begin at the same time one makes the key.
func sharedSeal(ctx context.Context, docs state.Documents, tenant selvage.Tenant) (*seal, error) {
	key := state.Collection{Tenant: tenant, Name: "keys"}.Key("clients")
	for {
		doc, err := docs.Get(ctx, key)
		if err == nil {
			return newSeal(doc.Value)
		}
		if selvage.KindOf(err) != selvage.NotFound {
			return nil, fmt.Errorf("read the nodes' shared key: %w", err)
		}
		fresh := make([]byte, sealKeySize)
		rand.Read(fresh) // never fails
		if _, err := docs.Put(ctx, key, fresh, state.Absent); err != nil && selvage.KindOf(err) != selvage.Conflict {
			return nil, fmt.Errorf("make the nodes' shared key: %w", err)
		}
	}
}
