package policy

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"
)

// errPasswordsBusy says that too many verifications wait already.
var errPasswordsBusy = errors.New("too many passwords waiting")

// Passwords verifies passwords: few at once, since each takes a processor for
// a tenth of a second, and none twice. Only what was right is remembered, as
// an HMAC under a key of this process, never the password. A changed hash is
// another entry, so nothing must be forgotten. The zero value is ready for use.
type Passwords struct {
	// AtOnce is how many are verified at once: half of the processors, at least 1, if it is 0.
	AtOnce int
	// Waiting is how many wait for that, 64 if it is 0. Beyond it the answer is 503, and
	// the record has the limit passwords.
	Waiting int
	// Remembered is how many right ones are remembered, 4096 if it is 0.
	Remembered int

	once    sync.Once
	key     [32]byte
	slots   chan struct{}
	queue   int64
	most    int // entries in recent before they become the older ones
	waiting atomic.Int64
	worked  atomic.Int64 // how often bcrypt ran

	mu     sync.Mutex // guards what follows
	recent map[mac]struct{}
	older  map[mac]struct{}
}

type mac [sha256.Size]byte

// setUp fills in the defaults, once.
func (p *Passwords) setUp() {
	slots := p.AtOnce
	if slots <= 0 {
		slots = max(1, runtime.GOMAXPROCS(0)/2)
	}
	p.slots = make(chan struct{}, slots)
	if p.queue = int64(p.Waiting); p.queue <= 0 {
		p.queue = 64
	}
	if p.most = p.Remembered / 2; p.most <= 0 {
		p.most = 2048
	}
	p.recent = map[mac]struct{}{}
	rand.Read(p.key[:])
}

// verify says whether the password is the hash's. It waits for a slot as long
// as ctx lasts; the error is [errPasswordsBusy] or the context's.
func (p *Passwords) verify(ctx context.Context, user, password string, hash []byte) (bool, error) {
	p.once.Do(p.setUp)
	m := p.mac(user, password, hash)
	if p.remembers(m) {
		return true, nil
	}
	if err := p.enter(ctx); err != nil {
		return false, err
	}
	defer func() { <-p.slots }()
	if p.remembers(m) { // a browser asks for a page and all its pictures at once
		return true, nil
	}
	p.worked.Add(1)
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return false, nil
	}
	p.remember(m)
	return true, nil
}

// enter takes a slot.
func (p *Passwords) enter(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > p.queue {
		return errPasswordsBusy
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mac is what is remembered of a name, a password and a hash. Nobody who does
// not know the key can choose it, so looking it up in a map tells nothing.
func (p *Passwords) mac(user, password string, hash []byte) mac {
	h := hmac.New(sha256.New, p.key[:])
	for _, part := range [][]byte{hash, []byte(user), []byte(password)} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	return mac(h.Sum(nil))
}

// remembers says whether m was right before; then it stays remembered.
func (p *Passwords) remembers(m mac) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.recent[m]; ok {
		return true
	}
	_, ok := p.older[m]
	if ok {
		p.rememberLocked(m)
	}
	return ok
}

func (p *Passwords) remember(m mac) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rememberLocked(m)
}

// rememberLocked keeps two generations: what was not used while the younger one filled is forgotten.
func (p *Passwords) rememberLocked(m mac) {
	if len(p.recent) >= p.most {
		p.older, p.recent = p.recent, map[mac]struct{}{}
	}
	p.recent[m] = struct{}{}
}
